"""Which of two is faster, and is it only noise?

Samples inside a run agree with each other better than two runs of the same thing do: between them the clock, the neighbours and
the placement of memory have changed. An interval from the samples alone therefore raises false alarms (Kalibera and Jones,
"Rigorous benchmarking in reasonable time", 2013). So the unit here is what was measured under one set of conditions:

- **rounds** of one run, in which both took turns, are compared in pairs: what changes slowly hits both and drops out;
- **runs that took turns** are compared in pairs in the same way;
- **other runs** count as one number each, with a deviation between runs that is learnt from the runs given, from the history
  of the same machine, and, while there are few of those, from an assumption: that it is as large as the one inside the runs.
  Many runs of one, and then many of the other, are no better than one of each: what changed in between does not average out.

Speeds are compared as logarithms, so that a ratio and its inverse are alike.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llamacli.bench.statistics import Interval, signed_rank_interval, signed_rank_middle, student_quantile

Verdict = Literal["faster", "slower", "no difference shown", "too noisy to tell"]
Method = Literal["rounds", "paired runs", "runs"]
Order = Literal["in turns", "mixed", "apart"]
"""How runs of two sides lie in time: the n-th ones of both beside each other, in disorder, or all of one before the other."""

LEVEL = 0.99
"""How sure a verdict is, over all tests of a comparison together. With 95 % one comparison of twenty would be a false alarm."""

RESOLUTION = 0.05
"""A difference of this share is worth knowing: an interval that leaves it open is too wide."""

FLOOR = 0.005
"""What no number of rounds makes smaller: where code and data happen to lie moves the speed of the very same program by so much
(Mytkowicz and others, "Producing wrong data without doing anything obviously wrong!", 2009)."""

_PRIOR_DEGREES = 4
"""How much the assumed deviation counts beside what was observed, as in Smyth's moderated t (2004)."""
_LEAST_PAIRS = 8
_MOST_BLOCKS = 60


@dataclass(frozen=True, slots=True)
class Drift:
    """How much runs of the same thing differ: the deviation of the logarithm of their speed, from `degrees` + 1 runs."""

    deviation: float
    degrees: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Speed of the second over that of the first. The interval is None when nothing is known about the noise.

    `units` are rounds, pairs or runs on each side; `drift` is the deviation between runs that was reckoned with, None where
    both took turns. `needed` is how many rounds, or pairs of runs, would probably do; None where there are enough.
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
    """The level of each of so many tests at which they hold together with LEVEL (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, tests)


def observed_drift(speeds: Sequence[float]) -> Drift | None:
    """The drift that the speeds of some runs of the same thing show; None for fewer than two."""
    if len(speeds) < 2:
        return None
    return Drift(statistics.stdev(map(math.log, speeds)), len(speeds) - 1)


def compare_rounds(
    first: Sequence[float], second: Sequence[float], *, level: float = LEVEL, resolution: float = RESOLUTION
) -> Outcome:
    """Compares the speeds of two that took turns, a round after the other, in one run.

    Raises ValueError for no samples, or speeds that are not positive and finite.
    """
    one, two = _logarithms(first), _logarithms(second)
    count = min(len(one), len(two))
    differences = [after - before for before, after in zip(one[:count], two[:count], strict=True)]
    return _paired(_blocks(differences), "rounds", count, FLOOR, level, resolution)


def compare_runs(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    *,
    order: Order = "apart",
    history: Sequence[Drift] = (),
    level: float = LEVEL,
    resolution: float = RESOLUTION,
) -> Outcome:
    """Compares runs, each with the speeds of its samples.

    Raises ValueError for no runs, no samples, or speeds that are not positive and finite.
    """
    runs = [[_logarithms(run) for run in side] for side in (first, second)]
    one, two = ([statistics.median(run) for run in side] for side in runs)
    if order == "in turns" and len(one) == len(two) >= _LEAST_PAIRS:
        differences = [after - before for before, after in zip(one, two, strict=True)]
        return _paired(differences, "paired runs", len(one), 0.0, level, resolution)
    difference = statistics.median(two) - statistics.median(one)
    units = (len(one), len(two))
    drift = _deviation_between(runs[0] + runs[1], [one, two], history)
    if drift is None:
        return _outcome(difference, None, "runs", level, resolution, units, needed=_LEAST_PAIRS)
    variances = (1.0, 1.0) if order == "apart" else (_variance_of_median(len(one)), _variance_of_median(len(two)))
    half = student_quantile((1 + level) / 2, drift.degrees) * drift.deviation * math.sqrt(sum(variances))
    interval = difference - half, difference + half
    needed = _pairs_for(drift.deviation * math.sqrt(2), resolution)
    return _outcome(difference, interval, "runs", level, resolution, units, drift=drift.deviation, needed=needed)


def _paired(differences: Sequence[float], method: Method, count: int, floor: float, level: float, resolution: float) -> Outcome:
    """Compares by the differences of pairs: by their ranks, or by Student's t where they are too few for that."""
    pairs = len(differences)
    middle = signed_rank_middle(differences)
    interval = signed_rank_interval(differences, level) if pairs >= _LEAST_PAIRS else None
    if interval is None and pairs > 1:
        middle = statistics.fmean(differences)
        half = student_quantile((1 + level) / 2, pairs - 1) * statistics.stdev(differences) / math.sqrt(pairs)
        interval = middle - half, middle + half
    needed = _LEAST_PAIRS
    if interval is not None:
        interval = interval[0] - floor, interval[1] + floor
        needed = max(needed, math.ceil(count * ((interval[1] - interval[0]) / resolution) ** 2))
    return _outcome(middle, interval, method, level, resolution, (count, count), needed=needed)


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
    """The verdict: a difference counts when the interval leaves no doubt of its sign, and none when it is narrow enough."""
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
    """The deviation between runs: observed and assumed variances, each with the weight of its degrees of freedom."""
    known = [Drift(statistics.stdev(side), len(side) - 1) for side in sides if len(side) > 1] + list(history)
    inside = [run for run in runs if len(run) > 1]
    if inside:
        freedom = sum(len(run) - 1 for run in inside)
        variance = sum(statistics.variance(run) * (len(run) - 1) for run in inside) / freedom
        known.append(Drift(max(FLOOR, math.sqrt(variance)), _PRIOR_DEGREES))
    degrees = sum(one.degrees for one in known)
    if not degrees:
        return None
    return Drift(math.sqrt(sum(one.deviation**2 * one.degrees for one in known) / degrees), degrees)


def _variance_of_median(count: int) -> float:
    """The variance of the median of so many normal values, as a multiple of theirs; that of one or two is the mean's."""
    return 1 / count if count < 3 else math.pi / 2 / count


def _pairs_for(deviation: float, resolution: float) -> int:
    """How many pairs with that deviation of their differences make an interval half as wide as the resolution on each side."""
    return max(_LEAST_PAIRS, math.ceil((2 * statistics.NormalDist().inv_cdf((1 + LEVEL) / 2) * deviation / resolution) ** 2))


def _blocks(differences: Sequence[float]) -> list[float]:
    """Medians of neighbours, so many together that there are not too many: neighbours in time are not independent."""
    size = -(-len(differences) // _MOST_BLOCKS)
    return [statistics.median(differences[start : start + size]) for start in range(0, len(differences), size)]


def _logarithms(speeds: Sequence[float]) -> list[float]:
    if not speeds or not all(0 < speed < math.inf for speed in speeds):
        raise ValueError("speeds must be positive and finite, and there must be some")
    return [math.log(speed) for speed in speeds]


def _ratio(difference: float) -> float:
    return math.exp(min(700.0, max(-700.0, difference)))
