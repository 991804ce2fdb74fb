"""The result of embedding one text: its vectors, or the error that took their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamacli.errors import LlamacliError
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.engine.embedding.vectors import Matrix


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of one text, float32: one row, or a row for each chunk or, without pooling, for each token.

    `row_tokens` counts the tokens evaluated for each row. `truncated` is True if the text was longer. With pooling "rank" the
    row holds scores.
    """

    index: int
    vectors: Matrix
    row_tokens: tuple[int, ...]
    truncated: bool = False

    @property
    def tokens(self) -> int:
        """Tokens evaluated, of all rows."""
        return sum(self.row_tokens)


@dataclass(frozen=True, slots=True)
class NotEmbedded:
    """A text without a vector, and the reason."""

    index: int
    error: LlamacliError


Outcome = Embedded | NotEmbedded
