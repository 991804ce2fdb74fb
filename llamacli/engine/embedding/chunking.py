"""From texts to the pieces that are evaluated, each whole in one micro-batch (see `embedding_packing`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llamacli.binding.library import library
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import ContextFullError, UsageError

SPECIAL_PROBE = "a"
"""A text that every vocabulary knows, to see what is put around it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that are evaluated together. `owner` is the text's index, `part` counts the pieces of one text."""

    owner: int
    part: int
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Frame:
    """What the model wants around every text: tokens before (such as [CLS]) and after (such as [SEP])."""

    head: tuple[int, ...]
    tail: tuple[int, ...]

    @property
    def size(self) -> int:
        """Tokens of both."""
        return len(self.head) + len(self.tail)

    def around(self, tokens: Sequence[int]) -> list[int]:
        """`tokens` with the frame."""
        return [*self.head, *tokens, *self.tail]


def frame_of(vocabulary: Vocabulary) -> Frame:
    """The frame that the model's metadata asks for."""
    bare = vocabulary.tokenize(SPECIAL_PROBE)
    framed = vocabulary.tokenize(SPECIAL_PROBE, add_special=True)
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            return Frame(tuple(framed[:start]), tuple(framed[start + len(bare) :]))
    raise UsageError("this model's tokenizer cannot be used for embeddings")


def pair_frame(model: Model, frame: Frame, query: str) -> Frame:
    """What stands around a document that is compared with a query: the model's rerank template, or query and separator.

    `frame` is what stands around every text.
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


def room_for(frame: Frame, limit: int, params: EmbeddingParams) -> int:
    """How many tokens of a text are evaluated together at most.

    Raises:
        UsageError: none, or fewer than chunks shall overlap by.
    """
    room = limit - frame.size
    if room < 1:
        around = f" beside the {frame.size} around it" if frame.size else ""
        raise UsageError(f"a context of {limit} tokens leaves no room for text{around}", hint="use a larger -c")
    if params.overflow == "chunk" and params.overlap >= room:
        raise UsageError(f"chunks of at most {room} tokens, as the context is, cannot overlap by {params.overlap}")
    return room


def cut(tokens: Sequence[int], frame: Frame, limit: int, params: EmbeddingParams) -> tuple[list[list[int]], bool]:
    """A text's tokens as pieces of at most `limit` tokens, frame included, and whether something was cut off.

    Raises:
        ContextFullError: it is too long, and nothing else was asked for.
        UsageError: it has no tokens, or what `room_for` raises.
    """
    room = room_for(frame, limit, params)
    if not tokens:
        raise UsageError("the text has no tokens")
    if params.overflow == "chunk":
        return [frame.around(part) for part in windows(tokens, min(params.chunk or room, room), params.overlap)], False
    if len(tokens) <= room:
        return [frame.around(tokens)], False
    if params.overflow == "truncate":
        return [frame.around(tokens[:room])], True
    raise ContextFullError(
        f"the text has {len(tokens) + frame.size} tokens, the model takes {limit}",
        needed=len(tokens) + frame.size,
        available=limit,
        hint="--truncate cuts it, --chunk N splits it",
    )


def windows(tokens: Sequence[int], size: int, overlap: int) -> Iterator[Sequence[int]]:
    """`tokens` in runs of `size`, each beginning `overlap` tokens before the end of the one before."""
    step = size - overlap
    for start in range(0, max(len(tokens) - overlap, 1), step):
        yield tokens[start : start + size]
