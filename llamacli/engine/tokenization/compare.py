"""Comparison of vocabularies on the same texts: the tokens that each needs, and the first texts they split differently."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from llamacli.engine.tokenization.documents import Chunk, Document, TextTokenizer, chunks_of
from llamacli.engine.tokenization.spans import Spans

MAX_DIFFERENCES = 5
"""Differences that a comparison returns."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens and bytes of one vocabulary, and its name."""

    name: str
    tokens: int
    bytes: int

    @property
    def bytes_per_token(self) -> float:
        """Bytes per token, 0.0 without tokens."""
        return self.bytes / self.tokens if self.tokens else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """A stretch of a document between two token boundaries that all vocabularies share, without a shared one in between.

    `start` and `end` are byte offsets. `pieces` has the stretch as each vocabulary splits it, in their order.
    """

    document: str
    start: int
    end: int
    pieces: tuple[tuple[bytes, ...], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Counts and differences of several vocabularies on the same documents."""

    counts: tuple[Counted, ...]
    differences: tuple[Difference, ...]


def compare(
    tokenizers: Sequence[tuple[str, TextTokenizer]],
    documents: Sequence[Document],
    *,
    max_differences: int = MAX_DIFFERENCES,
    on_progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Tokenize the documents with each of the named tokenizers. `on_progress` receives the bytes done.

    Raises:
        LlamacliError: as `chunks_of` raises it.
    """
    readers = [_Reader(tokenizer, documents) for _, tokenizer in tokenizers]
    differences: list[Difference] = []
    done = 0
    for document in documents:
        for reader in readers:
            reader.begin()
        if len(differences) < max_differences:
            found = (stretch for stretch in _stretches(readers) if any(edges != stretch[1][0] for edges in stretch[1]))
            for start, edges in itertools.islice(found, max_differences - len(differences)):
                pieces = tuple(readers[0].pieces(start, own) for own in edges)
                differences.append(Difference(document.name, start, edges[0][-1], pieces))
        for reader in readers:
            reader.finish()
        done += readers[0].document_bytes
        if on_progress is not None:
            on_progress(done)
    counts = tuple(Counted(name, reader.tokens, reader.bytes) for (name, _), reader in zip(tokenizers, readers, strict=True))
    return Comparison(counts, tuple(differences))


class _Reader:
    """The chunks of one vocabulary: counts all tokens, and yields the boundaries of those of the current document.

    `_text` is the document from byte `_start` on, as far as it is read.
    """

    def __init__(self, tokenizer: TextTokenizer, documents: Iterable[Document]) -> None:
        self._chunks = chunks_of(tokenizer, documents)
        self._spans = Spans(tokenizer.vocabulary)
        self._ended = True
        self._text = b""
        self._start = self._needed = 0
        self.tokens = 0
        self.bytes = 0
        self.document_bytes = 0

    def begin(self) -> None:
        """Start the next document."""
        self._ended = False
        self._text = b""
        self._start = self._needed = self.document_bytes = 0

    def edges(self) -> Iterator[int]:
        """Yield the byte offsets at which the document's tokens end."""
        position = 0
        while (chunk := self._next()) is not None:
            self._text = self._text[self._needed - self._start :] + chunk.part.data
            self._start = self._needed
            for span in self._spans.of(chunk):
                if span is not None and span[1] > position:
                    position = span[1]
                    yield position

    def pieces(self, start: int, edges: Sequence[int]) -> tuple[bytes, ...]:
        """Return the text from `start` on, split at the boundaries."""
        return tuple(
            self._text[left - self._start : right - self._start] for left, right in itertools.pairwise((start, *edges))
        )

    def forget(self, position: int) -> None:
        """Release the text before `position`."""
        self._needed = position

    def finish(self) -> None:
        """Count the remaining tokens of the document."""
        while self._next() is not None:
            pass

    def _next(self) -> Chunk | None:
        if self._ended:
            return None
        chunk = next(self._chunks)
        self._ended = chunk.part.is_last
        self.tokens += len(chunk.tokens)
        self.bytes += len(chunk.part.data)
        self.document_bytes += len(chunk.part.data)
        return chunk


def _stretches(readers: Sequence[_Reader]) -> Iterator[tuple[int, list[list[int]]]]:
    """Yield the stretches between boundaries that all readers share: the start, and each reader's boundaries up to the end."""
    edges = [reader.edges() for reader in readers]
    heads = [next(own, None) for own in edges]
    start, passed = 0, [list[int]() for _ in readers]
    while any(head is not None for head in heads):
        nearest = min(head for head in heads if head is not None)
        common = all(head == nearest for head in heads)
        for number, head in enumerate(heads):
            if head == nearest:
                passed[number].append(nearest)
        if common:
            yield start, passed
            start, passed = nearest, [list[int]() for _ in readers]
            for reader in readers:
                reader.forget(start)
        heads = [next(own, None) if head == nearest else head for own, head in zip(edges, heads, strict=True)]
