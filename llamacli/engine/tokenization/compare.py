"""The same text through several vocabularies: how many tokens each takes, and where they first cut it differently."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from llamacli.engine.tokenization.documents import Document
from llamacli.engine.tokenization.spans import Spans
from llamacli.engine.tokenization.tokenizer import Chunk, Tokenizer

FIRST = 5
"""How many differences are kept."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One vocabulary's share: what it is called, and how many tokens it takes."""

    name: str
    tokens: int
    bytes: int

    @property
    def bytes_per_token(self) -> float:
        """0.0 without tokens."""
        return self.bytes / self.tokens if self.tokens else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """A stretch of a document that begins and ends at a token's edge with each vocabulary, and at none in between with all.

    `pieces`: the stretch as each vocabulary cuts it, in their order.
    """

    document: str
    start: int
    end: int
    pieces: tuple[tuple[bytes, ...], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What several vocabularies make of the same documents."""

    counts: tuple[Counted, ...]
    differences: tuple[Difference, ...]


def compare(
    tokenizers: Sequence[tuple[str, Tokenizer]],
    documents: Sequence[Document],
    *,
    first: int = FIRST,
    on_progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Tokenizes the documents with each of the named tokenizers. `on_progress` is told the bytes that are done.

    Raises: what `Tokenizer.stream` raises.
    """
    readers = [_Reader(tokenizer, documents) for _, tokenizer in tokenizers]
    differences: list[Difference] = []
    done = 0
    for document in documents:
        for reader in readers:
            reader.begin()
        if len(differences) < first:
            found = (stretch for stretch in _stretches(readers) if any(edges != stretch[1][0] for edges in stretch[1]))
            for start, edges in itertools.islice(found, first - len(differences)):
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
    """The chunks of one vocabulary: counts all tokens, and gives the edges of those of the current document.

    `_text` is the document from byte `_start` on, as far as it has been read.
    """

    def __init__(self, tokenizer: Tokenizer, documents: Iterable[Document]) -> None:
        self._chunks = tokenizer.stream(documents)
        self._spans = Spans(tokenizer.vocabulary)
        self._ended = True
        self._text = b""
        self._start = self._needed = 0
        self.tokens = 0
        self.bytes = 0
        self.document_bytes = 0

    def begin(self) -> None:
        """The next chunk is the first of a document."""
        self._ended = False
        self._text = b""
        self._start = self._needed = self.document_bytes = 0

    def edges(self) -> Iterator[int]:
        """Where the tokens of the document end, in bytes."""
        place = 0
        while (chunk := self._next()) is not None:
            self._text = self._text[self._needed - self._start :] + chunk.part.data
            self._start = self._needed
            for span in self._spans.of(chunk):
                if span is not None and span[1] > place:
                    place = span[1]
                    yield place

    def pieces(self, start: int, edges: Sequence[int]) -> tuple[bytes, ...]:
        """The text from `start` on, cut at the edges."""
        return tuple(
            self._text[left - self._start : right - self._start] for left, right in itertools.pairwise((start, *edges))
        )

    def forget(self, place: int) -> None:
        """No text before `place` will be asked for."""
        self._needed = place

    def finish(self) -> None:
        """Counts what is left of the document."""
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
    """Stretches between edges that all readers have in common: where each begins, and every reader's edges up to its end."""
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
