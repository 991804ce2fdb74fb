"""Vocabularies in a child: tokenization and detokenization of texts of any size, read here and computed there."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from llamacli.backend.child import tokens
from llamacli.backend.child.feeder import Conversation, ConversationFeeder, Feeder, IdFeeder, TextFeeder
from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.child import Child
from llamacli.backend.child.process.start import ChildOwner, start_child
from llamacli.backend.child.tokens import (
    ChatTokenization,
    Detokenization,
    MediaVocabulary,
    Stretch,
    Tokenization,
    TokenizedPart,
)  # fmt: skip
from llamacli.backend.child.wire.codec import ProtocolError
from llamacli.backend.child.wire.method import Method
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.tokenization.documents import Chunk, Document, NotTokenized
from llamacli.gguf.split import part_names

SERVICE: Final = "llamacli.backend.child.services.tokenizer"

_HOST: Final = "llamacli.backend.child.services.engine"
"""The service of engines, which have a vocabulary, too."""


class SeenTokens:
    """A `TokenTable` of the tokens that have come from a child."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, int]] = {}

    def add(self, described: Iterable[tuple[int, bytes, int]]) -> None:
        """Add tokens with their bytes and attributes."""
        for token, piece, attributes in described:
            self._known[token] = piece, attributes

    def special_piece(self, token: int) -> bytes:
        """Return the bytes of a token; those of control tokens as templates write them."""
        return self._of(token)[0]

    def attribute(self, token: int) -> int:
        """Return the attributes (`llama_token_attr`) of a token."""
        return self._of(token)[1]

    def _of(self, token: int) -> tuple[bytes, int]:
        try:
            return self._known[token]
        except KeyError:
            raise ProtocolError(f"the engine did not describe token {token}") from None


class Vocabularies(ChildOwner):
    """The vocabularies of model files, by their number in `paths`, in one child. `close()` ends it. A context manager.

    With `params.keep_alive` that of a single model stays, or is that of a resident engine. `media` names a model with the
    projector that counts the tokens of pictures and sounds; it comes after those of `paths`.

    Raises (when built): what loading a vocabulary raises; EngineDiedError if the child dies, as everything that uses it does.
    """

    def __init__(
        self, paths: Sequence[Path], params: ChildParams | None = None, *, media: MediaVocabulary | None = None
    ) -> None:
        files = [*paths, *([Path(media.path)] if media is not None else [])]
        reads = [path.with_name(name) for path in files for name in part_names(path.name)]
        params = replace(params or ChildParams(), rpc=())  # a vocabulary is here
        if len(paths) != 1 or media is not None:  # a resident has one model
            params = replace(params, keep_alive=None)
        if media is not None:
            reads.append(Path(media.mmproj))
        self._child = start_child(SERVICE, reads, params, model=files[0], host=_HOST)
        self._cancel = Canceller()
        try:
            self._numbers: list[int] = [self._child.call(tokens.OPEN_VOCABULARY, str(path)) for path in paths]
            if media is not None:
                self._numbers.append(self._child.call(tokens.OPEN_MEDIA_VOCABULARY, media))
        except BaseException:
            self._child.abandon()
            raise

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._child.pid

    def tokenizer(
        self, number: int = 0, *, special: bool = False, wrap: bool = True, replace: bool = False, describes: bool = False
    ) -> ChildTokenizer:
        """Return a tokenizer: see `Tokenizer`. `replace` reads invalid UTF-8 as U+FFFD; `describes` fills its token table."""
        return ChildTokenizer(
            self._child,
            Tokenization(self._numbers[number], special, wrap, describes),
            replace=replace,
            cancel=self._cancel,
        )

    def conversations(
        self, conversations: Iterable[Conversation | NotTokenized], *, template: str | None, vocabulary: SeenTokens | None
    ) -> Iterator[Chunk | NotTokenized]:
        """Yield the prompt of each conversation with its tokens, or its error. `vocabulary` gets the tokens.

        Raises:
            TemplateError: if there is no chat template, or it does not parse.
        """
        feeder = ConversationFeeder(conversations)
        request = ChatTokenization(self._numbers[0], template, describes=vocabulary is not None)
        yield from _outcomes(self._child, tokens.TOKENIZE_CHATS, request, feeder, vocabulary, self._cancel)

    def detokenize(self, texts: Iterable[array[int] | None], *, special: bool = False, wrap: bool = True) -> Iterator[Stretch]:
        """Yield the bytes of texts in stretches, each with whether its text ends there. See `Detokenizer`.

        None among the texts means that the next one has to wait.

        Raises:
            UsageError: if an id is not in the vocabulary.
        """
        feeder = IdFeeder(texts)
        request = Detokenization(self._numbers[0], special, wrap)
        stream = self._child.stream(tokens.DETOKENIZE_TEXTS, request, source=feeder.source, cancel=self._cancel)
        with closing(stream) as items:
            for item in items:
                yield from item

    def cancel(self) -> None:
        """End what runs, from any thread: it raises CancelledError."""
        self._cancel.set()


class ChildTokenizer:
    """A tokenizer in a child, a `TextTokenizer`. `vocabulary` has the tokens that have come, if it was asked for them."""

    def __init__(self, child: Child, request: Tokenization, *, replace: bool, cancel: Canceller) -> None:
        self._child, self._request = child, request
        self._replace, self._cancel = replace, cancel
        self.vocabulary = SeenTokens()

    def outcomes(self, documents: Iterable[Document | None]) -> Iterator[Chunk | NotTokenized]:
        """Yield the chunks of the documents. See `TextTokenizer.outcomes`."""
        feeder = TextFeeder(documents, replace=self._replace)
        return _outcomes(self._child, tokens.TOKENIZE_TEXTS, self._request, feeder, self.vocabulary, self._cancel)


def _outcomes(
    child: Child,
    method: Method,
    request: Tokenization | ChatTokenization,
    feeder: Feeder,
    vocabulary: SeenTokens | None,
    cancel: Canceller,
) -> Iterator[Chunk | NotTokenized]:
    with closing(child.stream(method, request, source=feeder.source, cancel=cancel)) as items:
        for item in items:
            for sent in item:
                if vocabulary is not None and isinstance(sent, TokenizedPart):
                    vocabulary.add(sent.described)
                yield feeder.outcome(sent)
