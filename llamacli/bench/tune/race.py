"""Races: the trials of values are interleaved, and those that are surely slower than the best are dropped.

Maron and Moore, "The racing algorithm: model selection for lazy learners" (1997); the test is that of tNo-Race in Birattari and
others, "A racing algorithm for configuring metaheuristics" (2002): Student's t on the differences of the same rounds.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from llamacli.bench.compare.compare import Outcome, compare_rounds
from llamacli.bench.measure.setup import Setup
from llamacli.bench.statistics import student_quantile
from llamacli.bench.tune.params import Value
from llamacli.errors import CancelledError, LlamacliError

LEAST_ROUNDS, MOST_ROUNDS = 3, 12
RESOLUTION = 0.02
"""The smallest relative difference of interest."""

_LEVEL = 0.95  # mistakes cost little, as the final comparison is of fresh measurements
_HOPELESS = 2.0  # times as slow as the best in every round: few rounds suffice
_FEWEST = 2


@dataclass(slots=True)
class Arm:
    """A value in a race, its seconds in each round, and the reason if it is impossible."""

    value: Value
    setup: Setup
    seconds: list[float] = field(default_factory=list)
    error: LlamacliError | None = None


def race(
    arms: Sequence[Arm], measure: Callable[[Setup], float], in_time: Callable[[], bool], order: random.Random
) -> Iterator[tuple[int, list[Arm]]]:
    """Run rounds until one arm remains, time is up or all are alike; yield the number of each round and the remaining arms.

    `measure` returns the seconds of one repetition.
    """
    remaining = list(arms)
    for number in range(1, MOST_ROUNDS + 1):
        if len(remaining) < 2 or (number > LEAST_ROUNDS and not in_time()):
            return
        for arm in order.sample(remaining, len(remaining)):
            try:
                arm.seconds.append(measure(arm.setup))
            except CancelledError:
                raise
            except LlamacliError as error:
                arm.error = error
        remaining = survivors([arm for arm in remaining if arm.error is None])
        yield number, remaining
        if number >= LEAST_ROUNDS and remaining and are_alike(remaining):
            return


def survivors(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms that are not surely slower than the one with the smallest median."""
    if len(arms) < 2:
        return list(arms)
    best = min(arms, key=lambda arm: statistics.median(arm.seconds))
    return [arm for arm in arms if arm is best or not _is_slower(arm.seconds, best.seconds)]


def winner(arms: Sequence[Arm], current: Value) -> Value:
    """Return the fastest of the arms with the most rounds, if it is surely faster than the current value, else that one."""
    complete = [arm for arm in arms if arm.error is None and len(arm.seconds) >= _FEWEST]
    incumbent = next((arm for arm in complete if arm.value == current), None)
    rounds = max((len(arm.seconds) for arm in complete), default=0)
    last = [arm for arm in complete if len(arm.seconds) == rounds]
    if not last:
        return current
    best = min(last, key=lambda arm: statistics.median(arm.seconds))
    if incumbent is None:  # the current value is impossible
        return best.value
    return best.value if _compare(incumbent, best).verdict == "faster" else current


def are_alike(arms: Sequence[Arm]) -> bool:
    """Return whether none differs from the fastest by enough to continue."""
    best = min(arms, key=lambda arm: statistics.median(arm.seconds))
    return all(arm is best or _compare(arm, best).verdict == "no difference shown" for arm in arms)


def _compare(before: Arm, after: Arm) -> Outcome:
    rounds = min(len(before.seconds), len(after.seconds))
    speeds = [[1 / second for second in arm.seconds[:rounds]] for arm in (before, after)]
    return compare_rounds(*speeds, level=_LEVEL, resolution=RESOLUTION)


def _is_slower(seconds: Sequence[float], best: Sequence[float]) -> bool:
    count = min(len(seconds), len(best))
    differences = [math.log(one / other) for one, other in zip(seconds[:count], best[:count], strict=True)]
    if count >= _FEWEST and min(differences) > math.log(_HOPELESS):
        return True
    if count < LEAST_ROUNDS:
        return False
    half = student_quantile((1 + _LEVEL) / 2, count - 1) * statistics.stdev(differences) / math.sqrt(count)
    return statistics.fmean(differences) - half > 0
