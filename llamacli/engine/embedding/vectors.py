"""Arithmetic on float32 matrices with a vector in each row."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llamacli.engine.embedding.params import Normalization
from llamacli.errors import EngineError

Matrix = npt.NDArray[np.float32]
"""A vector in each row."""


def joined(parts: Sequence[Matrix]) -> Matrix:
    """Return all rows of the parts, in order. A single part is returned without a copy."""
    rows: Matrix = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return rows


def finish(vectors: Matrix, *, normalize: Normalization, dims: int | None) -> Matrix:
    """Return the first `dims` numbers of each row, normalized.

    Raises:
        EngineError: if a number is not finite.
    """
    if not np.isfinite(vectors).all():
        raise EngineError(
            "the model's output holds numbers that are not finite", hint="the file may be corrupt; try without flash attention"
        )
    return normalized(vectors if dims is None else vectors[:, :dims], normalize)


def normalized(vectors: Matrix, kind: Normalization) -> Matrix:
    """Return the rows divided by a norm: `l2` Euclidean, `taxicab` the sum of magnitudes, `max` the largest magnitude.

    A row of zeros stays zero.
    """
    if kind == "none":
        return np.ascontiguousarray(vectors)
    magnitudes = np.abs(vectors, dtype=np.float64)
    norms: npt.NDArray[np.float64]
    if kind == "l2":
        norms = np.sqrt(np.einsum("ij,ij->i", magnitudes, magnitudes))
    else:
        norms = magnitudes.sum(axis=1) if kind == "taxicab" else magnitudes.max(axis=1, initial=0.0)
    norms[norms == 0] = 1.0
    return np.ascontiguousarray(vectors / norms[:, None], dtype=np.float32)


def weighted_mean(vectors: Matrix, weights: Sequence[int]) -> Matrix:
    """Return one row: the mean of the rows, weighted."""
    mean: Matrix = np.average(vectors.astype(np.float64), axis=0, weights=weights)[None].astype(np.float32)
    return mean


def cosines(vectors: Matrix) -> Matrix:
    """Return the cosine similarity of each pair of rows, N × N."""
    unit = normalized(vectors, "l2")
    product: Matrix = np.clip(unit @ unit.T, -1.0, 1.0)
    return product


def nearest(query: Matrix, vectors: Matrix) -> Matrix:
    """Return the cosine similarity of the one row of `query` to each row of `vectors`."""
    scores: Matrix = np.clip(normalized(vectors, "l2") @ normalized(query, "l2")[0], -1.0, 1.0)
    return scores


def candidates(scores: Matrix, count: int) -> list[int]:
    """Return the positions of the `count` highest scores, and of those that tie with the last of them."""
    if len(scores) <= count:
        return list(range(len(scores)))
    found: list[int] = np.flatnonzero(scores >= np.partition(scores, -count)[-count]).tolist()
    return found


class Best:
    """The `count` best-scored numbers seen so far; of a tie, the smaller number. `count` None keeps all."""

    def __init__(self, count: int | None) -> None:
        self._count = count
        self._heap: list[tuple[float, int]] = []

    def add(self, score: float, number: int) -> int | None:
        """Add a number, and return the one that drops out, or None."""
        item = (score, -number)
        if self._count is None or len(self._heap) < self._count:
            heapq.heappush(self._heap, item)
            return None
        return -heapq.heappushpop(self._heap, item)[1]

    def ranked(self) -> list[tuple[float, int]]:
        """Return pairs of score and number, best first."""
        return [(score, -number) for score, number in sorted(self._heap, reverse=True)]
