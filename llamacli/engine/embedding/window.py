"""Windows of texts: a few hundred or thousand texts whose pieces are sorted, packed and evaluated together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llamacli.engine.embedding.chunking import Piece
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded, Outcome
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.engine.params import Pooling
from llamacli.errors import CapacityError, EngineError, LlamacliError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.vectors import Matrix

FIRST_WINDOW, LARGEST_WINDOW = 256, 4096
"""Texts in a window: few at first, so that evaluation starts early."""
WINDOW_TOKENS = 1 << 16

Text = str | tuple[int, ...] | LlamacliError
"""A text, its tokens, or the reason why it is missing."""

Split = Callable[[Text], tuple[list[list[int]], bool]]
"""From a text to the tokens of its pieces, and whether it was truncated. Raises the text's error."""


@dataclass(slots=True)
class _Pending:
    """A text whose pieces are being evaluated. `weights` are their tokens, `rows` the vectors of those done, by part."""

    index: int
    weights: list[int]
    truncated: bool
    rows: dict[int, Matrix] = field(default_factory=dict)


class Window:
    """Texts that are evaluated together: errors and pending texts by index, and the pieces of the latter."""

    def __init__(self) -> None:
        self.failed: dict[int, LlamacliError] = {}
        self.pieces: list[Piece] = []
        self.tokens = 0
        self._pending: dict[int, _Pending] = {}

    def __len__(self) -> int:
        return len(self.failed) + len(self._pending)

    def add(self, index: int, parts: list[list[int]], *, truncated: bool) -> None:
        """Add a text by the tokens of its pieces."""
        pending = self._pending[index] = _Pending(index, [len(part) for part in parts], truncated)
        self.pieces += [Piece(index, number, part) for number, part in enumerate(parts)]
        self.tokens += sum(pending.weights)

    def receive(self, rows: Iterable[tuple[Piece, Matrix]]) -> int:
        """Store the vectors of evaluated pieces, and return the number of texts that are complete with them."""
        complete = 0
        for piece, vectors in rows:
            pending = self._pending[piece.owner]
            pending.rows[piece.part] = vectors
            complete += len(pending.rows) == len(pending.weights)
        return complete

    def outcomes(self, pooling: Pooling, params: EmbeddingParams) -> Iterator[Outcome]:
        """Yield the outcome of each text in order, once all pieces are received."""
        for index in sorted([*self.failed, *self._pending]):
            error = self.failed.get(index)
            yield NotEmbedded(index, error) if error else _outcome(self._pending[index], pooling, params)


def windows(texts: Iterable[Text], split: Split, check: Callable[[], None], *, max_tokens: int) -> Iterator[Window]:
    """Yield windows of texts, each of at most about `max_tokens` tokens. `check` is called for each text and may raise."""
    size, window = FIRST_WINDOW, Window()
    for index, text in enumerate(texts):
        check()
        try:
            parts, truncated = split(text)
        except (UsageError, CapacityError) as error:
            window.failed[index] = error
        else:
            window.add(index, parts, truncated=truncated)
        if len(window) >= size or window.tokens >= max_tokens:
            yield window
            size, window = min(2 * size, LARGEST_WINDOW), Window()
    if len(window):
        yield window


def _outcome(pending: _Pending, pooling: Pooling, params: EmbeddingParams) -> Outcome:
    from llamacli.engine.embedding import vectors as arithmetic  # imports NumPy

    vectors = arithmetic.joined([rows for _, rows in sorted(pending.rows.items())])
    row_tokens = pending.weights if pooling != "none" else [1] * len(vectors)
    if len(pending.rows) > 1 and params.merge and pooling != "none":
        vectors = arithmetic.weighted_mean(vectors, pending.weights)
        row_tokens = [sum(pending.weights)]
    normalize = "none" if pooling == "rank" else params.normalize
    try:
        ready = arithmetic.finish(vectors, normalize=normalize, dims=params.dims)
    except EngineError as error:
        return NotEmbedded(pending.index, error)
    return Embedded(pending.index, ready, tuple(row_tokens), pending.truncated)
