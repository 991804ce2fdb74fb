"""The result of embedding one text: its vectors, or the error that took their place."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any, Protocol

from llamacli.errors import LlamacliError
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.engine.embedding.vectors import Matrix


class Rows(Protocol):
    """A vector in each row, float32 in the byte order of the machine: an array of NumPy, or one that needs no NumPy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of rows and columns."""

    def tobytes(self) -> bytes:
        """Return the numbers, row after row."""

    def tolist(self) -> Any:
        """Return a list of lists."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of one text: one row, or a row for each chunk or, without pooling, for each token.

    `row_tokens` counts the tokens evaluated for each row. `truncated` is True if the text was longer. With pooling "rank" the
    row holds scores.
    """

    index: int
    rows: Rows
    row_tokens: tuple[int, ...]
    truncated: bool = False

    @property
    def vectors(self) -> Matrix:
        """The rows as an array of NumPy, which is imported for it: a tenth of a second that few programs need."""
        import numpy as np

        return np.asarray(self.rows)

    @property
    def little_endian(self) -> bytes:
        """The numbers as files have them, row after row."""
        return little_endian(self.rows.tobytes())

    @property
    def tokens(self) -> int:
        """Tokens evaluated, of all rows."""
        return sum(self.row_tokens)


@dataclass(frozen=True, slots=True)
class NotEmbedded:
    """A text without a vector, and the reason."""

    index: int
    error: LlamacliError


def little_endian(numbers: bytes) -> bytes:
    """Return 32-bit numbers of this machine as files have them."""
    if sys.byteorder == "little":
        return numbers
    swapped = array("f", numbers)
    swapped.byteswap()
    return swapped.tobytes()


Outcome = Embedded | NotEmbedded
