"""Estimates from windows of text, with intervals by a block bootstrap: tokens of one window depend on each other.

Whole windows are drawn with replacement (Künsch, "The jackknife and the bootstrap for general stationary observations", 1989),
as counts of each window; a statistic is computed from the counts of all resamples at once. Everything is seeded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llamacli.bench.statistics import RESAMPLES, expanded_tail

Numbers = NDArray[np.float64]

_SEED = 20_090_422
_MOST_COUNTS = 10_000_000
"""Counts in memory: with many windows fewer resamples do."""

_LEAST_RESAMPLES = 200
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the bounds of its interval, by default of 95 %; bounds are None if unknown, as with too few windows."""

    value: float
    low: float | None = None
    high: float | None = None

    def mapped(self, function: Callable[[float], float]) -> Estimate:
        """Return the estimate of an increasing function of the value."""
        bounds = [None if bound is None else function(bound) for bound in (self.low, self.high)]
        return Estimate(function(self.value), *bounds)


class Resamples:
    """The resamples of a number of windows, for intervals of a level."""

    def __init__(self, windows: int, level: float = 0.95) -> None:
        self._windows, self._level = windows, level
        generator = np.random.default_rng(_SEED)
        draws = max(_LEAST_RESAMPLES, min(RESAMPLES, _MOST_COUNTS // windows))
        self._counts = generator.multinomial(windows, np.full(windows, 1 / windows), size=draws).astype(np.float64)

    def mean(self, sums: Sequence[float], counts: Sequence[float]) -> Estimate:
        """Estimate a mean over tokens, from the sums and numbers of each window."""
        tops, bottoms = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
        return self._estimate(float(tops.sum() / bottoms.sum()), (self._counts @ tops) / (self._counts @ bottoms))

    def quantiles(self, values: Sequence[NDArray[np.float32]], shares: Sequence[float]) -> list[Estimate]:
        """Estimate quantiles of all tokens' values, given those of each window; the smallest and largest have no interval."""
        pooled = np.concatenate(values).astype(np.float64)
        owners = np.repeat(np.arange(len(values)), [len(one) for one in values])
        order = np.argsort(pooled, kind="stable")
        ordered, owners = pooled[order], owners[order]
        drawn = np.empty((len(shares), len(self._counts)))
        for number, counts in enumerate(self._counts):
            ranks = counts[owners].cumsum()
            wanted = np.asarray(shares) * (ranks[-1] - 1) + 1
            drawn[:, number] = ordered[np.minimum(np.searchsorted(ranks, wanted - _ROUNDING), len(ordered) - 1)]
        found = np.quantile(ordered, shares)
        return [
            self._estimate(float(value), resampled) if 0 < share < 1 else Estimate(float(value))
            for share, value, resampled in zip(shares, found, drawn, strict=True)
        ]

    def _estimate(self, value: float, resampled: Numbers) -> Estimate:
        if self._windows < 2 or not math.isfinite(value):
            return Estimate(value)
        tail = expanded_tail(self._windows, self._level)
        low, high = np.quantile(resampled, (tail, 1 - tail))
        return Estimate(value, float(low), float(high))
