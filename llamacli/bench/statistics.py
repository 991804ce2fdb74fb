"""Statistics of few, noisy measurements, without assumptions about the distribution of the noise.

Everything is seeded: equal samples give equal intervals. Durations and speeds have long tails, so medians are preferred.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import Literal

Statistic = Literal["median", "mean"]
Interval = tuple[float, float]
"""The lower bound, then the upper bound."""

RESAMPLES = 2000
_MOST_DRAWS = 1_000_000
_SEED = 20_090_422


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the samples lie, interpolated between neighbours as numpy does.

    That is definition 7 of Hyndman and Fan, "Sample quantiles in statistical packages" (1996). Raises ValueError without
    samples, or if one is not finite.
    """
    _check(samples)
    ordered = sorted(samples)
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def bootstrap_interval(samples: Sequence[float], statistic: Statistic = "median", level: float = 0.95) -> Interval | None:
    """Return the bootstrap interval of the median or the mean; None for a single sample.

    This is the percentile interval of Efron (1979), expanded for small samples as in Hesterberg, "What teachers should know
    about the bootstrap" (2015), section 3.3: unexpanded it is too narrow, by sqrt((n - 1) / n) and by the normal quantile in
    place of Student's t. Raises ValueError without samples, or if one is not finite.
    """
    _check(samples)
    count = len(samples)
    if count == 1:
        return None
    tail = expanded_tail(count, level)
    generator = random.Random(_SEED)
    drawn = sorted(_medians(sorted(samples), generator) if statistic == "median" else _means(samples, generator))
    return percentile(drawn, tail), percentile(drawn, 1 - tail)


def expanded_tail(count: int, level: float = 0.95) -> float:
    """Return the share of resamples of `count` samples, two or more, to leave out on each side of a percentile interval."""
    reach = student_quantile((1 + level) / 2, count - 1) * math.sqrt(count / (count - 1))
    return statistics.NormalDist().cdf(-reach)


def _medians(ordered: Sequence[float], generator: random.Random) -> Iterator[float]:
    """Draw the median of each resample in one step.

    The k-th smallest of n uniform numbers has a beta distribution (David and Nagaraja, "Order Statistics", 2.2); floor(n u) is
    then the index of the k-th smallest of n draws with replacement. Given it, the next is the smallest of the n - k others.
    """
    count = len(ordered)
    rank = (count + 1) // 2
    for _ in range(RESAMPLES):
        quantile = generator.betavariate(rank, count - rank + 1)
        lower = ordered[min(int(count * quantile), count - 1)]
        if count % 2:
            yield lower
        else:
            quantile += (1 - quantile) * (1 - generator.random() ** (1 / (count - rank)))
            yield (lower + ordered[min(int(count * quantile), count - 1)]) / 2


def _means(samples: Sequence[float], generator: random.Random) -> Iterator[float]:
    count = len(samples)
    if RESAMPLES * count > _MOST_DRAWS:  # the mean of this many samples is normal, by the central limit theorem
        normal = statistics.NormalDist(statistics.fmean(samples), statistics.pstdev(samples) / math.sqrt(count))
        yield from (normal.inv_cdf((number + 0.5) / RESAMPLES) for number in range(RESAMPLES))
        return
    for _ in range(RESAMPLES):
        yield statistics.fmean(generator.choices(samples, k=count))


def wilson_interval(successes: int, count: int, level: float = 0.95) -> Interval:
    """Return the score interval of a share, which is good for few trials and near 0 and 1, too (Wilson, 1927).

    Raises ValueError without trials.
    """
    if not 0 <= successes <= count or not count:
        raise ValueError(f"{successes} of {count} is not a share")
    reach = statistics.NormalDist().inv_cdf((1 + level) / 2)
    share, weight = successes / count, reach**2 / count
    center = (share + weight / 2) / (1 + weight)
    width = reach * math.sqrt(share * (1 - share) / count + weight / (4 * count)) / (1 + weight)
    return max(0.0, center - width), min(1.0, center + width)


def signed_rank_interval(differences: Sequence[float], level: float) -> Interval | None:
    """Return the exact interval for the center of paired differences; None if there are too few for that level.

    It inverts Wilcoxon's signed-rank test: means of all pairs of differences, counted in from both ends (Hollander and Wolfe,
    "Nonparametric Statistical Methods", 3.3). It is robust to jumps of the machine's speed within a few pairs. Raises
    ValueError without differences, or if one is not finite.
    """
    _check(differences)
    count = len(differences)
    skipped = _signed_rank_bound(count, 1 - level)
    if skipped == 0:
        return None
    means = sorted((differences[i] + differences[j]) / 2 for i in range(count) for j in range(i, count))
    return means[skipped - 1], means[-skipped]


def signed_rank_center(differences: Sequence[float]) -> float:
    """Return the point estimate of `signed_rank_interval`: the median of the means of pairs (Hodges and Lehmann, 1963)."""
    count = len(differences)
    return statistics.median((differences[i] + differences[j]) / 2 for i in range(count) for j in range(i, count))


@cache
def _signed_rank_bound(count: int, error: float) -> int:
    """Return the smallest sum of signed ranks that is not significant at that two-sided error."""
    subsets = [1]  # the number of sets of ranks by their sum
    for rank in range(1, count + 1):
        longer = subsets + [0] * rank
        for total, number in enumerate(subsets):
            longer[total + rank] += number
        subsets = longer
    significant = error * 2 ** (count - 1)
    return next(bound for bound, cumulated in enumerate(accumulate(subsets)) if cumulated > significant)


@cache
def student_quantile(share: float, degrees: int) -> float:
    """Return the quantile of Student's t for a `share` above one half, by bisection."""
    low, high = 0.0, 1.0
    while _student(high, degrees) < share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _student(middle, degrees) < share else (low, middle)
    return high


def _student(t: float, degrees: int) -> float:
    """Return the cumulative distribution of Student's t for t >= 0 (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    square = math.cos(angle) ** 2
    odd = degrees % 2
    term = total = (math.cos(angle) if odd else 1.0) if degrees > 1 else 0.0
    for step in range(3 if odd else 2, degrees - 1, 2):
        term *= square * (step - 1) / step
        total += term
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return (1 + inside) / 2


def _check(samples: Sequence[float]) -> None:
    if not samples:
        raise ValueError("no samples")
    if not all(map(math.isfinite, samples)):
        raise ValueError("a sample is not a finite number")
