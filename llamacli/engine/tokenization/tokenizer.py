"""Tokenizer for documents of any size, on all cores, and detokenizer."""

from __future__ import annotations

import functools
import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence

from llamacli.binding.enums import llama_vocab_type
from llamacli.engine.runtime.bounds import bounded
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.vocabulary import STACK_PER_BYTE, Vocabulary
from llamacli.engine.tokenization.cutter import PART, parts_of
from llamacli.engine.tokenization.documents import Chunk, Document, NotTokenized, Part
from llamacli.engine.tokenization.parallel import in_order
from llamacli.engine.tokenization.spans import is_cut_out
from llamacli.engine.tokenization.split_rules import Rules
from llamacli.engine.tokenization.vocabulary_rules import rules_of
from llamacli.errors import CapacityError, ModelUnsupportedError, UsageError

_JOB = 64 << 10
"""Bytes of short documents in one job."""

_JOINED = 1 << 16
"""Pieces that are joined at a time."""


class Tokenizer:
    """A model's tokenizer.

    With `special`, control tokens in texts are parsed. `wrap` adds the tokens that the model requires around a text (BOS, EOS).
    `threads` None uses all cores.
    """

    def __init__(self, model: Model, *, special: bool = False, wrap: bool = True, threads: int | None = None) -> None:
        self.model = model
        self.vocabulary: Vocabulary = model.vocabulary
        self.special = special
        self.begin, self.end = wrapping(self.vocabulary) if wrap else ((), ())
        self._threads = threads or default_threads()
        self._lengths: dict[bytes, int] = {}

    @functools.cached_property
    def rules(self) -> Rules:
        """The rules of safe cuts."""
        return rules_of(self.model, special=self.special)

    @functools.cached_property
    def adds_space(self) -> bool:
        """True if a text is tokenized as if it began with a space."""
        return adds_space(self.vocabulary)

    def outcomes(self, documents: Iterable[Document | None]) -> Iterator[Chunk | NotTokenized]:
        """Yield the chunks of the documents, in order; a document's error takes the place of its next chunk.

        None among the documents means that the next one has to wait, so pending chunks are yielded first. A document that
        raises UsageError while it is read has that error. See `chunks_of`.
        """
        for outcomes in self.batches(documents):
            yield from outcomes

    def batches(self, documents: Iterable[Document | None]) -> Iterator[list[Chunk | NotTokenized]]:
        """Yield what `outcomes` does, in the lists in which it is computed."""
        return in_order(self._jobs(documents), self._work, threads=self._threads, stack=PART * STACK_PER_BYTE)

    def _jobs(self, documents: Iterable[Document | None]) -> Iterator[list[Part | NotTokenized] | None]:
        job: list[Part | NotTokenized] = []
        size = 0
        for document in documents:
            if document is None:
                yield job
                yield None
                job, size = [], 0
                continue
            for part in self._parts(document):
                job.append(part)
                size += 64 + (len(part.data) if isinstance(part, Part) else 0)  # an empty document is work too
                if size >= _JOB:
                    yield job
                    job, size = [], 0
        if job:
            yield job

    def _parts(self, document: Document) -> Iterator[Part | NotTokenized]:
        try:
            yield from parts_of(document, lambda: self.rules)
        except (UsageError, CapacityError) as error:
            yield NotTokenized(document, error)

    def _work(self, job: list[Part | NotTokenized]) -> list[Chunk | NotTokenized]:
        size = sum(len(part.data) for part in job if isinstance(part, Part))
        with bounded("text", size * self._threads):  # the memory of all threads is measured together
            return [self._chunk(part) if isinstance(part, Part) else part for part in job]

    def _chunk(self, part: Part) -> Chunk:
        tokens = self.vocabulary.token_array(part.before + part.data, special=self.special, stack_bytes=PART)
        if part.before:
            del tokens[: self._length(part.before)]
        lead = self.begin if part.is_first else ()
        tail = self.end if part.is_last else ()
        if lead or tail:
            tokens = array("i", lead) + tokens + array("i", tail)
        return Chunk(part, tokens, len(lead), len(tail), self.adds_space and not part.before)

    def _length(self, text: bytes) -> int:
        """Return the number of tokens of a character."""
        if text not in self._lengths:
            self._lengths[text] = len(self.vocabulary.token_array(text, special=self.special))
        return self._lengths[text]


def wrapping(vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens that the model requires before and after a text.

    Raises:
        ModelUnsupportedError: if the text itself gets other tokens between them.
    """
    plain = vocabulary.tokenize("a")
    wrapped = vocabulary.tokenize("a", add_special=True)
    starts = range(len(wrapped) - len(plain) + 1)
    lead = next((start for start in starts if wrapped[start : start + len(plain)] == plain), None)
    if lead is None:
        raise ModelUnsupportedError("the model's tokenizer splits a text otherwise when it adds the tokens around it")
    return tuple(wrapped[:lead]), tuple(wrapped[lead + len(plain) :])


def adds_space(vocabulary: Vocabulary) -> bool:
    """Return whether the pieces of a text begin with a space that is not in it."""
    tokens = vocabulary.tokenize("a")
    return bool(tokens) and vocabulary.piece(tokens[0]).startswith(b" ")


class Detokenizer:
    """From tokens back to bytes. With `special`, control tokens are written, except those that `wrapping` adds.

    For a text that the vocabulary can represent, these are the bytes that were tokenized.
    """

    def __init__(self, vocabulary: Vocabulary, *, special: bool = False, wrap: bool = True) -> None:
        self._vocabulary = vocabulary
        self._special = special
        self._begin, self._end = wrapping(vocabulary) if wrap and special else ((), ())
        self._adds_space = adds_space(vocabulary)
        self._is_wordpiece = vocabulary.type == llama_vocab_type.LLAMA_VOCAB_TYPE_WPM
        self._attributes: dict[int, int] = {}

    def document(self, tokens: Sequence[int]) -> Iterator[bytes]:
        """Yield the bytes of one text, in parts, because joining takes 100 bytes of memory per token.

        Raises:
            UsageError: if an id is not in the vocabulary.
        """
        self._vocabulary.check_ids(tokens)
        if self._begin and tuple(tokens[: len(self._begin)]) == self._begin:
            tokens = tokens[len(self._begin) :]
        if self._end and tuple(tokens[-len(self._end) :]) == self._end:
            tokens = tokens[: -len(self._end)]
        if self._is_wordpiece:  # pieces have spaces around punctuation, which llama.cpp's detokenizer removes
            yield self._vocabulary.detokenize(tokens, special=self._special).removeprefix(b" ")
            return
        if self._adds_space:
            pieces = self._without_added_spaces(tokens)
        else:
            pieces = map(self._vocabulary.special_piece if self._special else self._vocabulary.piece, tokens)
        for _ in range(0, len(tokens), _JOINED):
            yield b"".join(itertools.islice(pieces, _JOINED))

    def _without_added_spaces(self, tokens: Sequence[int]) -> Iterator[bytes]:
        """Yield pieces without the space that is added at the beginning and after each token that is cut out of the text."""
        vocabulary = self._vocabulary
        added = True
        for token in tokens:
            cut_out = is_cut_out(vocabulary, token, self._attributes)
            piece = vocabulary.special_piece(token) if self._special else vocabulary.piece(token)
            yield piece.removeprefix(b" ") if added and not cut_out else piece
            added = cut_out
