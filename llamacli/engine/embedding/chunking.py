"""From texts to pieces: tokens that are evaluated together, in one micro-batch (see `packing`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llamacli.binding.library import library
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import ContextFullError, UsageError

SPECIAL_PROBE = "a"
"""A text in every vocabulary, to find the tokens that are added around a text."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that are evaluated together. `owner` is the text's index, `part` the piece's number within the text."""

    owner: int
    part: int
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Frame:
    """The tokens that the model requires around every text: before it (such as [CLS]) and after it (such as [SEP])."""

    head: tuple[int, ...]
    tail: tuple[int, ...]

    @property
    def size(self) -> int:
        """Tokens of head and tail."""
        return len(self.head) + len(self.tail)

    def around(self, tokens: Sequence[int]) -> list[int]:
        """Return `tokens` with the frame around them."""
        return [*self.head, *tokens, *self.tail]


def frame_of(vocabulary: Vocabulary) -> Frame:
    """Return the frame that the model's metadata requires.

    Raises:
        UsageError: if the tokenizer changes a text when it adds special tokens.
    """
    bare = vocabulary.tokenize(SPECIAL_PROBE)
    framed = vocabulary.tokenize(SPECIAL_PROBE, add_special=True)
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            return Frame(tuple(framed[:start]), tuple(framed[start + len(bare) :]))
    raise UsageError("this model's tokenizer cannot be used for embeddings")


def pair_frame(model: Model, frame: Frame, query: str) -> Frame:
    """Return the frame of a document that is compared with a query: the model's rerank template, or query and separator.

    `frame` is the frame of every text.
    """
    lib, vocabulary = library(), model.vocabulary
    template = lib.llama_model_chat_template(model.handle, b"rerank")
    words = vocabulary.tokenize(query)
    if template:
        before, _, after = template.decode("utf-8", "replace").partition("{document}")
        start, found, middle = before.partition("{query}")
        head = [*vocabulary.tokenize(start, special=True), *(words if found else ())]
        head += vocabulary.tokenize(middle, special=True) if middle else []
        return Frame((*frame.head, *head), (*(vocabulary.tokenize(after, special=True) if after else ()), *frame.tail))
    separators = [vocabulary.eos] if vocabulary.add_eos else []
    if lib.llama_vocab_get_add_sep(vocabulary.handle):
        separators.append(lib.llama_vocab_sep(vocabulary.handle))
    return Frame((*frame.head, *words, *separators), frame.tail)


def check_room(frame: Frame, limit: int, params: EmbeddingParams) -> int:
    """Return the number of tokens of a text that fit into `limit` tokens beside the frame.

    Raises:
        UsageError: if none fit, or not more than chunks overlap by.
    """
    room = limit - frame.size
    if room < 1:
        beside = f" beside the {frame.size} special tokens" if frame.size else ""
        message = f"a context of {limit} tokens leaves no room for text{beside}"
        raise UsageError(message, hint="use a larger n_ctx", parameter="n_ctx")
    if params.overflow == "chunk" and params.overlap >= room:
        message = f"chunks of at most {room} tokens, the context's limit, cannot overlap by {params.overlap}"
        raise UsageError(message, parameter="overlap")
    return room


def cut(tokens: Sequence[int], frame: Frame, limit: int, params: EmbeddingParams) -> tuple[list[list[int]], bool]:
    """Return a text's pieces of at most `limit` tokens, frame included, and whether the text was truncated.

    Raises:
        ContextFullError: if the text is too long and `params` request neither truncation nor chunks.
        UsageError: if it has no tokens, or as `check_room` raises it.
    """
    room = check_room(frame, limit, params)
    if not tokens:
        raise UsageError("the text has no tokens")
    if params.overflow == "chunk":
        return [frame.around(part) for part in windows(tokens, min(params.chunk or room, room), params.overlap)], False
    if len(tokens) <= room:
        return [frame.around(tokens)], False
    if params.overflow == "truncate":
        return [frame.around(tokens[:room])], True
    raise ContextFullError(
        f"the text has {len(tokens) + frame.size} tokens, the limit is {limit}",
        needed=len(tokens) + frame.size,
        available=limit,
        hint="truncate it, or split it into chunks",
    )


def windows(tokens: Sequence[int], size: int, overlap: int) -> Iterator[Sequence[int]]:
    """Yield runs of `size` tokens, each starting `overlap` tokens before the end of the previous one."""
    step = size - overlap
    for start in range(0, max(len(tokens) - overlap, 1), step):
        yield tokens[start : start + size]
