"""The vocabularies of a child: texts to tokens, on all cores, and back."""

from __future__ import annotations

import itertools
import sys
from array import array
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llamacli.backend.child import tokens
from llamacli.backend.child.tokens import (
    ChatTokenization,
    Detokenization,
    FedTexts,
    MediaVocabulary,
    Outcomes,
    RefusedText,
    Stretch,
    TextBlock,
    Tokenization,
    TokenizedPart,
)  # fmt: skip
from llamacli.backend.child.wire.faults import fault_of
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.task import Task
from llamacli.binding.enums import llama_token_attr
from llamacli.binding.library import library
from llamacli.engine.chat.message import Message
from llamacli.engine.media.placeholders import is_placeholder
from llamacli.engine.params import ModelParams
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.engine.tokenization.documents import Chunk, Document, NotTokenized
from llamacli.engine.tokenization.tokenizer import Detokenizer, Tokenizer
from llamacli.errors import CapacityError, TemplateError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.media.encoder import MediaEncoder

_FEEDS_AHEAD: Final = 4
"""Feeds that are wished for whenever none is left; the threads still have work then."""

_KEPT_BYTES: Final = 64 << 20
"""Bytes of freed memory that are kept: buffers of tokens come and go with every part of a text."""

_SENT_BYTES: Final = 256 << 10
"""Bytes of text that are sent at once."""


def service() -> dict[Method, Handler]:
    """Return the handlers, with the native library loaded."""
    library()
    if sys.platform.startswith("linux"):
        from llamacli.binding.linux import keep_freed_memory

        keep_freed_memory(_KEPT_BYTES)
    return TokenizerService().handlers()


class TokenizerService:
    """The handlers of vocabularies: those of models that are loaded, and those that `OPEN_VOCABULARY` loads."""

    def __init__(self, loaded: Sequence[Model] = ()) -> None:
        self._models = list(loaded)
        self._numbers: dict[str, int] = {}
        self._encoders: dict[int, MediaEncoder] = {}

    def handlers(self) -> dict[Method, Handler]:
        """Return the handlers by method."""
        return {
            tokens.OPEN_VOCABULARY: self._open,
            tokens.OPEN_MEDIA_VOCABULARY: self._open_with_projector,
            tokens.TOKENIZE_TEXTS: self._tokenize,
            tokens.TOKENIZE_CHATS: self._tokenize_chats,
            tokens.DETOKENIZE_TEXTS: self._detokenize,
        }

    def _open(self, path: str, _task: Task) -> int:
        if path not in self._numbers:  # a resident has it open already
            self._models.append(Model(Path(path), vocab_only=True))
            self._numbers[path] = len(self._models) - 1
        return self._numbers[path]

    def _open_with_projector(self, asked: MediaVocabulary, _task: Task) -> int:
        """Load a model as libmtmd wants it, weights included: they are mapped, and never read."""
        from llamacli.engine.media.encoder import MediaEncoder

        params = ModelParams(
            gpu_layers=0, repack=False, kernels="upstream", mmproj=asked.mmproj, image_max_tokens=asked.image_max_tokens
        )
        model = Model(Path(asked.path), params)
        self._encoders[len(self._models)] = MediaEncoder(model, Path(asked.mmproj), threads=1)
        self._models.append(model)
        return len(self._models) - 1

    def _tokenize(self, asked: Tokenization, task: Task) -> Generator[Outcomes, None, None]:
        model = self._models[asked.vocabulary]
        tokenizer = Tokenizer(model, special=asked.special, wrap=asked.wrap)
        pack = _Packer(model.vocabulary, describes=asked.describes)
        for outcomes in tokenizer.batches(fed_documents(task.fed(itertools.repeat(_FEEDS_AHEAD)))):
            if outcomes:
                yield [pack.outcome(outcome) for outcome in outcomes]

    def _tokenize_chats(self, asked: ChatTokenization, task: Task) -> Generator[Outcomes, None, None]:
        from llamacli.engine.tokenization.chat import conversation_chunk, open_template

        model = self._models[asked.vocabulary]
        pack = _Packer(model.vocabulary, describes=asked.describes)
        encoder = self._encoders.get(asked.vocabulary)
        with open_template(model, asked.template) as template:
            for messages in task.fed(itertools.repeat(1)):
                try:
                    if messages is None:
                        raise UsageError("a conversation that cannot be read")
                    _require_media(encoder, messages)
                    expand = encoder.tokens if encoder is not None else None
                    chunk = conversation_chunk(model.vocabulary, template, messages, expand)
                except (UsageError, TemplateError, CapacityError) as error:
                    yield [RefusedText(fault_of(error))]
                else:
                    yield [pack.chunk(chunk, text=chunk.part.data)]

    def _detokenize(self, asked: Detokenization, task: Task) -> Generator[list[Stretch], None, None]:
        vocabulary = self._models[asked.vocabulary].vocabulary
        detokenizer = Detokenizer(vocabulary, special=asked.special, wrap=asked.wrap)
        ids: array[int] = array("i")
        for blocks in task.fed(itertools.repeat(1)):
            texts: list[Stretch] = []
            size = 0
            for data, is_last in blocks:
                ids.frombytes(data)
                if not is_last:
                    continue
                for stretch in _stretches(detokenizer.document(ids)):
                    texts.append(stretch)
                    size += len(stretch[0])
                    if size >= _SENT_BYTES:
                        yield texts
                        texts, size = [], 0
                ids = array("i")
            if texts:
                yield texts


def _require_media(encoder: MediaEncoder | None, messages: Sequence[Message]) -> None:
    """Raise UsageError if the messages have pictures or sounds that are not taken."""
    kinds = encoder.kinds if encoder is not None else ()
    for media in (media for message in messages for media in message.media):
        if media.kind not in kinds:
            from llamacli.engine.media.compatibility import refused_media

            raise refused_media(media.kind, has_projector=encoder is not None)


def _stretches(parts: Iterable[bytes]) -> Iterator[Stretch]:
    """Yield the parts of one text in stretches of bounded size, the last of which is empty."""
    for part in parts:
        for start in range(0, len(part), _SENT_BYTES):
            yield part[start : start + _SENT_BYTES], False
    yield b"", True


class _Packer:
    """From chunks to what is sent. With `describes` the first occurrence of each token brings what is known of it."""

    def __init__(self, vocabulary: Vocabulary, *, describes: bool) -> None:
        self._vocabulary = vocabulary
        self._known: set[int] | None = set() if describes else None

    def outcome(self, outcome: Chunk | NotTokenized) -> TokenizedPart | RefusedText:
        return self.chunk(outcome) if isinstance(outcome, Chunk) else RefusedText(fault_of(outcome.error))

    def chunk(self, chunk: Chunk, text: bytes | None = None) -> TokenizedPart:
        part = chunk.part
        return TokenizedPart(
            chunk.tokens.tobytes(), len(part.data), chunk.lead, chunk.tail, chunk.has_added_space, part.is_last,
            self._described(chunk.tokens), text,
        )  # fmt: skip

    def _described(self, used: array[int]) -> list[tuple[int, bytes, int]]:
        if self._known is None:
            return []
        new = set(used) - self._known
        self._known |= new
        return [self._description(token) for token in new]

    def _description(self, token: int) -> tuple[int, bytes, int]:
        if is_placeholder(token):
            return token, b"", llama_token_attr.LLAMA_TOKEN_ATTR_CONTROL
        return token, self._vocabulary.special_piece(token), self._vocabulary.attribute(token)


def fed_documents(feeds: Iterable[FedTexts]) -> Iterator[Document | None]:
    """Yield the documents whose blocks are fed one after the other, each to be read before the next; None as it is fed.

    The rest of a document that is not read to its end is skipped. One that is broken raises UsageError when it is read.
    """
    reader = _FedBlocks(feeds)
    while (first := reader.next_block()) is not None:
        if isinstance(first, TextBlock):
            yield Document(first.name, lambda first=first: reader.rest(first))  # type: ignore[misc]
            if reader.is_open:  # the error of a document is sent at once, so that the rest of it is not
                yield None
                reader.skip_rest()
        else:
            yield None


class _Flush:
    """The place of None among the feeds."""


_FLUSH: Final = _Flush()


class _FedBlocks:
    """Blocks as they are fed. `is_open`: the current document goes on."""

    def __init__(self, feeds: Iterable[FedTexts]) -> None:
        self._feeds = iter(feeds)
        self._blocks: deque[TextBlock | _Flush] = deque()
        self.is_open = False

    def next_block(self) -> TextBlock | _Flush | None:
        """Return the next block, a mark where everything before it is wanted, or None at the end."""
        while not self._blocks:
            try:
                group = next(self._feeds)
            except StopIteration:
                return None
            self._blocks.extend([_FLUSH] if group is None else group)
        block = self._blocks.popleft()
        self.is_open = isinstance(block, TextBlock) and block.end == "more"
        return block

    def rest(self, block: TextBlock) -> Iterator[bytes]:
        """Yield the data of `block` and of those that follow it in its document."""
        while True:
            if block.end == "broken":
                raise UsageError(f"{block.name} cannot be read")
            yield block.data
            if block.end == "last":
                return
            following = self.next_block()
            if not isinstance(following, TextBlock):
                return
            block = following

    def skip_rest(self) -> None:
        """Go to the end of the current document."""
        while self.is_open:
            self.next_block()
