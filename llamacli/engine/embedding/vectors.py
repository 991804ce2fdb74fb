"""Arithmetic on vectors: float32 matrices with a vector in each row."""

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
    """All rows of the parts, in order; a single part as it is."""
    rows: Matrix = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return rows


def finish(vectors: Matrix, *, normalize: Normalization, dims: int | None) -> Matrix:
    """The first `dims` numbers of each row, normalized.

    Raises:
        EngineError: a number is not finite.
    """
    if not np.isfinite(vectors).all():
        raise EngineError("the model's output holds numbers that are not finite", hint="the file may be damaged; try -fa off")
    return normalized(vectors if dims is None else vectors[:, :dims], normalize)


def normalized(vectors: Matrix, kind: Normalization) -> Matrix:
    """Rows divided by their length: `l2` Euclidean, `taxicab` the sum of magnitudes, `max` the largest magnitude.

    A row of zeros stays as it is.
    """
    if kind == "none":
        return np.ascontiguousarray(vectors)
    magnitudes = np.abs(vectors, dtype=np.float64)
    lengths: npt.NDArray[np.float64]
    if kind == "l2":
        lengths = np.sqrt(np.einsum("ij,ij->i", magnitudes, magnitudes))
    else:
        lengths = magnitudes.sum(axis=1) if kind == "taxicab" else magnitudes.max(axis=1, initial=0.0)
    lengths[lengths == 0] = 1.0
    return np.ascontiguousarray(vectors / lengths[:, None], dtype=np.float32)


def weighted_mean(vectors: Matrix, weights: Sequence[int]) -> Matrix:
    """One row: the mean of the rows, each counting by its weight."""
    mean: Matrix = np.average(vectors.astype(np.float64), axis=0, weights=weights)[None].astype(np.float32)
    return mean


def cosines(vectors: Matrix) -> Matrix:
    """The cosine of the angle of each pair of rows."""
    unit = normalized(vectors, "l2")
    product: Matrix = np.clip(unit @ unit.T, -1.0, 1.0)
    return product


def nearest(query: Matrix, vectors: Matrix) -> Matrix:
    """The cosine of the one row of `query` with each row of `vectors`."""
    scores: Matrix = np.clip(normalized(vectors, "l2") @ normalized(query, "l2")[0], -1.0, 1.0)
    return scores


def candidates(scores: Matrix, count: int) -> list[int]:
    """Where the `count` highest of a row of scores are, and those that equal the last of them."""
    if len(scores) <= count:
        return list(range(len(scores)))
    found: list[int] = np.flatnonzero(scores >= np.partition(scores, -count)[-count]).tolist()
    return found


class Best:
    """The `count` best of many, by score; of equals, the earlier. None keeps all."""

    def __init__(self, count: int | None) -> None:
        self._count = count
        self._heap: list[tuple[float, int]] = []

    def add(self, score: float, number: int) -> int | None:
        """Takes one, and returns the number of the one that is not among the best any more, if there is one."""
        item = (score, -number)
        if self._count is None or len(self._heap) < self._count:
            heapq.heappush(self._heap, item)
            return None
        return -heapq.heappushpop(self._heap, item)[1]

    def ranked(self) -> list[tuple[float, int]]:
        """The pairs, best first."""
        return [(score, -number) for score, number in sorted(self._heap, reverse=True)]
