"""Parameters of an embedding: what the caller requests of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llamacli.errors import UsageError

Normalization = Literal["l2", "none", "max", "taxicab"]
Attention = Literal["causal", "non-causal"]
Overflow = Literal["error", "truncate", "chunk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingParams:
    """Parameters of the conversion from texts to vectors.

    `dims` keeps the first N numbers of each vector, before normalization, for models that were trained for it (Kusupati et al.,
    "Matryoshka Representation Learning", 2022); None keeps all. `overflow` says what happens to a text that exceeds the
    model's limit: an error for that text, truncation, or chunks. With "chunk", every text of more than `chunk` tokens (None:
    the model's limit) is split, and neighbouring chunks share `overlap` tokens. `merge` makes one vector of a text's chunks:
    their mean, weighted by length. Without it each chunk keeps its own vector. `prefix` is put before each text.

    Raises:
        UsageError: if a value is out of range.
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
            raise UsageError("dims must be at least 1", parameter="dims")
        if self.chunk is not None and self.chunk < 1:
            raise UsageError("a chunk must have at least 1 token", parameter="chunk")
        if self.overlap < 0:
            raise UsageError("the overlap of chunks must be at least 0", parameter="overlap")
        if self.chunk is not None and self.overlap >= self.chunk:
            raise UsageError("the overlap of chunks must be smaller than a chunk", parameter="overlap")
