"""The comparison of two sets of speeds: which is faster, or whether noise explains the difference.

Samples within a run agree better than two runs of the same test: between runs the clock, other processes and the placement of
memory change. An interval from the samples alone therefore raises false alarms (Kalibera and Jones, "Rigorous benchmarking in
reasonable time", 2013). The unit of comparison is a measurement under one set of conditions:

- **rounds** of one run, in which both were interleaved, are compared in pairs: a slow drift affects both and cancels out;
- **interleaved runs** are compared in pairs as well;
- **other runs** count as one number each. The deviation between runs is estimated from the given runs, from the history of the
  same machine, and, if these are few, from the assumption that it equals the deviation within the runs. Many runs of one side
  followed by many of the other are no better than one of each: a change in between does not average out.

Speeds are compared as logarithms, so that a ratio and its inverse are treated alike.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from llamacli.bench.statistics import Interval, signed_rank_center, signed_rank_interval, student_quantile

Verdict = Literal["faster", "slower", "no difference shown", "too noisy to tell"]
Method = Literal["rounds", "paired runs", "runs"]
Order = Literal["alternating", "mixed", "apart"]
"""The order in time of the runs of two sides: alternating, mixed, or all runs of one side before those of the other."""

LEVEL = 0.99
"""Confidence level of all verdicts of a comparison together. At 95 % one comparison in twenty would be a false alarm."""

RESOLUTION = 0.05
"""The smallest relative difference of interest: an interval that cannot exclude it is too wide."""

FLOOR = 0.005
"""Relative uncertainty that no number of rounds reduces: the placement of code and data alone changes the speed of a program by
this much (Mytkowicz and others, "Producing wrong data without doing anything obviously wrong!", 2009)."""

_PRIOR_DEGREES = 4
"""Weight of the assumed deviation beside the observed ones, in degrees of freedom, as in Smyth's moderated t (2004)."""
_ASSUMED_DEVIATION = 0.1
"""The deviation between runs that is assumed, with the weight above, if a drift of fewer degrees of freedom shows nothing."""

_LEAST_PAIRS = 8
_MOST_BLOCKS = 60


@dataclass(frozen=True, slots=True)
class Drift:
    """The deviation between runs of the same test: of the logarithm of their speeds, from `degrees` + 1 runs."""

    deviation: float
    degrees: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The speed of the second side over that of the first. `interval` is None if the noise is unknown.

    `units` are rounds, pairs or runs on each side; `drift` is the assumed deviation between runs, None for pairs. `needed` is
    the number of rounds, or of pairs of runs, that would probably suffice; None if there are enough.
    """

    ratio: float
    interval: Interval | None
    verdict: Verdict
    method: Method
    level: float
    units: tuple[int, int]
    drift: float | None = None
    needed: int | None = None


def level_for(tests: int) -> float:
    """Return the level of each test at which all `tests` together hold with LEVEL (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, tests)


def observed_drift(speeds: Sequence[float]) -> Drift | None:
    """Return the drift between runs of the same test with these speeds; None for fewer than two."""
    if len(speeds) < 2:
        return None
    return Drift(statistics.stdev(map(math.log, speeds)), len(speeds) - 1)


def compare_rounds(
    first: Sequence[float], second: Sequence[float], *, level: float = LEVEL, resolution: float = RESOLUTION
) -> Outcome:
    """Compare the speeds of two tests that were interleaved in one run, round by round.

    Raises:
        ValueError: without samples, or if a speed is not positive and finite.
    """
    count = min(len(first), len(second))
    one, two = _logarithms(first[:count]), _logarithms(second[:count])
    differences = [after - before for before, after in zip(one, two, strict=True)]
    outcome = _paired(_blocks(differences), "rounds", count, FLOOR, level, resolution)
    if outcome.verdict == "too noisy to tell" and count < _LEAST_PAIRS:
        for low, high in _unpaired_intervals(one, two, level):
            if low - FLOOR > 0 or high + FLOOR < 0:
                center = statistics.fmean(differences)
                return _outcome(center, (low - FLOOR, high + FLOOR), "rounds", level, resolution, (count, count))
    return outcome


def compare_runs(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    *,
    order: Order = "apart",
    history: Sequence[Drift] = (),
    level: float = LEVEL,
    resolution: float = RESOLUTION,
) -> Outcome:
    """Compare runs, each with the speeds of its samples.

    Raises:
        ValueError: without runs or samples, or if a speed is not positive and finite.
    """
    runs = [[_logarithms(run) for run in side] for side in (first, second)]
    one, two = ([statistics.median(run) for run in side] for side in runs)
    if order == "alternating" and len(one) == len(two) >= _LEAST_PAIRS:
        differences = [after - before for before, after in zip(one, two, strict=True)]
        return _paired(differences, "paired runs", len(one), 0.0, level, resolution)
    difference = statistics.median(two) - statistics.median(one)
    units = (len(one), len(two))
    drift = _deviation_between(runs[0] + runs[1], [one, two], history)
    if drift is None:
        return _outcome(difference, None, "runs", level, resolution, units, needed=_LEAST_PAIRS)
    variances = (1.0, 1.0) if order == "apart" else (_variance_of_median(len(one)), _variance_of_median(len(two)))
    half = _half_width(drift, level, sum(variances))
    if drift.degrees < _PRIOR_DEGREES and abs(difference) <= half:  # known from very few runs
        assumed = _half_width(_pooled([drift, Drift(_ASSUMED_DEVIATION, _PRIOR_DEGREES)]), level, sum(variances))
        half = assumed if assumed < abs(difference) else half
    interval = difference - half, difference + half
    needed = _pairs_for(drift.deviation * math.sqrt(2), resolution)
    return _outcome(difference, interval, "runs", level, resolution, units, drift=drift.deviation, needed=needed)


def _paired(differences: Sequence[float], method: Method, count: int, floor: float, level: float, resolution: float) -> Outcome:
    """Compare by the differences of pairs: by their ranks, or by Student's t if they are too few for ranks."""
    pairs = len(differences)
    center = signed_rank_center(differences)
    interval = signed_rank_interval(differences, level) if pairs >= _LEAST_PAIRS else None
    if interval is None and pairs > 1:
        center = statistics.fmean(differences)
        half = student_quantile((1 + level) / 2, pairs - 1) * statistics.stdev(differences) / math.sqrt(pairs)
        interval = center - half, center + half
    needed = _LEAST_PAIRS
    if interval is not None:
        interval = interval[0] - floor, interval[1] + floor
        needed = max(needed, math.ceil(count * ((interval[1] - interval[0]) / resolution) ** 2))
    return _outcome(center, interval, method, level, resolution, (count, count), needed=needed)


def _unpaired_intervals(one: Sequence[float], two: Sequence[float], level: float) -> Iterator[Interval]:
    """Yield intervals for the difference of few equally long samples that detect large differences better than their pairs.

    Two pairs leave Student's t a single degree of freedom, and one outlier widens its interval without bounds. The samples of
    both sides together have twice as many degrees of freedom. Disjoint sets differ if chance separates equal ones rarely
    enough: in 2 of (2n over n) cases (Mann and Whitney, 1947).
    """
    count = len(one)
    if count > 1:
        variance = (statistics.variance(one) + statistics.variance(two)) / 2
        center = statistics.fmean(two) - statistics.fmean(one)
        half = student_quantile((3 + level) / 4, 2 * count - 2) * math.sqrt(2 * variance / count)
        yield center - half, center + half
    if 2 / math.comb(2 * count, count) <= 1 - level:
        yield min(two) - max(one), max(two) - min(one)


def _half_width(drift: Drift, level: float, variances: float) -> float:
    return student_quantile((1 + level) / 2, drift.degrees) * drift.deviation * math.sqrt(variances)


def _outcome(
    difference: float,
    interval: Interval | None,
    method: Method,
    level: float,
    resolution: float,
    units: tuple[int, int],
    *,
    drift: float | None = None,
    needed: int | None = None,
) -> Outcome:
    """Return the outcome: a difference if the interval excludes 1, no difference if it is narrow enough around it."""
    verdict: Verdict = "too noisy to tell"
    bounds = None
    if interval is not None:
        low, high = bounds = _ratio(interval[0]), _ratio(interval[1])
        if high < 1 or low > 1:
            verdict = "slower" if high < 1 else "faster"
        elif low >= 1 - resolution and high <= 1 / (1 - resolution):
            verdict = "no difference shown"
    needed = needed if verdict == "too noisy to tell" else None
    return Outcome(_ratio(difference), bounds, verdict, method, level, units, drift, needed)


def _deviation_between(
    runs: Sequence[Sequence[float]], sides: Sequence[Sequence[float]], history: Sequence[Drift]
) -> Drift | None:
    """Return the deviation between runs: observed and assumed variances, each weighted by its degrees of freedom."""
    known = [Drift(statistics.stdev(side), len(side) - 1) for side in sides if len(side) > 1] + list(history)
    repeated = [run for run in runs if len(run) > 1]
    if repeated:
        freedom = sum(len(run) - 1 for run in repeated)
        variance = sum(statistics.variance(run) * (len(run) - 1) for run in repeated) / freedom
        known.append(Drift(max(FLOOR, math.sqrt(variance)), _PRIOR_DEGREES))
    return _pooled(known) if known else None


def _pooled(drifts: Sequence[Drift]) -> Drift:
    """Return the drift with the mean variance, weighted by degrees of freedom."""
    degrees = sum(one.degrees for one in drifts)
    return Drift(math.sqrt(sum(one.deviation**2 * one.degrees for one in drifts) / degrees), degrees)


def _variance_of_median(count: int) -> float:
    """Return the variance of the median of `count` normal values, as a multiple of theirs; of one or two, that of the mean."""
    return 1 / count if count < 3 else math.pi / 2 / count


def _pairs_for(deviation: float, resolution: float) -> int:
    """Return the number of pairs, with that deviation of their differences, whose interval is as wide as the resolution."""
    return max(_LEAST_PAIRS, math.ceil((2 * statistics.NormalDist().inv_cdf((1 + LEVEL) / 2) * deviation / resolution) ** 2))


def _blocks(differences: Sequence[float]) -> list[float]:
    """Return medians of blocks of neighbours, at most _MOST_BLOCKS: neighbours in time are not independent."""
    size = -(-len(differences) // _MOST_BLOCKS)
    return [statistics.median(differences[start : start + size]) for start in range(0, len(differences), size)]


def _logarithms(speeds: Sequence[float]) -> list[float]:
    if not speeds or not all(0 < speed < math.inf for speed in speeds):
        raise ValueError("speeds must be positive and finite, and at least one is needed")
    return [math.log(speed) for speed in speeds]


def _ratio(difference: float) -> float:
    return math.exp(min(700.0, max(-700.0, difference)))
