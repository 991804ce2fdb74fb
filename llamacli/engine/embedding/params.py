"""What is asked of an embedding model, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llamacli.errors import LlamacliError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.vectors import Matrix

Normalization = Literal["l2", "none", "max", "taxicab"]
Attention = Literal["causal", "non-causal"]
Overflow = Literal["error", "truncate", "chunk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingParams:
    """How texts become vectors.

    `dims`: keep the first so many numbers of each vector (of a model that was trained for that, "Matryoshka"), before it is
    normalized; None keeps all. `overflow`: what happens to a text that is longer than the model allows: an error of that text,
    cut at the end, or cut into chunks. With "chunk" every text of more than `chunk` tokens (None: what the model allows) is
    cut; neighbours share `overlap` tokens. `merge` makes one vector of the chunks, their mean weighted by length; otherwise
    each has its own.
    """

    normalize: Normalization = "l2"
    dims: int | None = None
    overflow: Overflow = "error"
    chunk: int | None = None
    overlap: int = 0
    merge: bool = True
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.dims is not None and self.dims < 1:
            raise UsageError("--dims must be at least 1")
        if self.chunk is not None and self.chunk < 1:
            raise UsageError("a chunk must have at least 1 token")
        if self.overlap < 0:
            raise UsageError("the overlap of chunks must be a number from 0")
        if self.chunk is not None and self.overlap >= self.chunk:
            raise UsageError("chunks must overlap by fewer tokens than they have")


@dataclass(frozen=True, slots=True)
class Embedded:
    """One text's vectors: float32, one row; a row for each chunk or, without pooling, for each token.

    `tokens` counts what was evaluated, `of_rows` the same for each row; `cut` says whether the text was longer. For pooling
    "rank" the row holds scores.
    """

    index: int
    vectors: Matrix
    of_rows: tuple[int, ...]
    cut: bool = False

    @property
    def tokens(self) -> int:
        """All that were evaluated."""
        return sum(self.of_rows)


@dataclass(frozen=True, slots=True)
class NotEmbedded:
    """A text that has no vector, and why."""

    index: int
    error: LlamacliError


Outcome = Embedded | NotEmbedded
