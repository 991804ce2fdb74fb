"""Races: values take turns, and those that are surely slower than the best are dropped.

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
from llamacli.bench.measure.trial import Way
from llamacli.bench.statistics import student_quantile
from llamacli.bench.tune.params import Value
from llamacli.errors import CancelledError, LlamacliError

LEAST_ROUNDS, MOST_ROUNDS = 3, 12
RESOLUTION = 0.02
"""A difference of this share is worth finding."""

_LEVEL = 0.95  # a mistake costs little here, as the comparison at the end is of fresh measurements
_HOPELESS = 2.0  # times as slow as the best in every round, so that few rounds do
_FEWEST = 2


@dataclass(slots=True)
class Arm:
    """A value in a race, how long each round took with it, and why it is impossible, if it is."""

    value: Value
    way: Way
    seconds: list[float] = field(default_factory=list)
    error: LlamacliError | None = None


def race(
    arms: Sequence[Arm], measure: Callable[[Way], float], in_time: Callable[[], bool], order: random.Random
) -> Iterator[tuple[int, list[Arm]]]:
    """Rounds until one arm is left, time is up or nobody learns more; after each the number of the round and who is left.

    `measure` tells the seconds of one repetition.
    """
    left = list(arms)
    for number in range(1, MOST_ROUNDS + 1):
        if len(left) < 2 or (number > LEAST_ROUNDS and not in_time()):
            return
        for arm in order.sample(left, len(left)):
            try:
                arm.seconds.append(measure(arm.way))
            except CancelledError:
                raise
            except LlamacliError as error:
                arm.error = error
        left = survivors([arm for arm in left if arm.error is None])
        yield number, left
        if number >= LEAST_ROUNDS and left and are_alike(left):
            return


def survivors(arms: Sequence[Arm]) -> list[Arm]:
    """Those that are not surely slower than the one with the smallest median."""
    if len(arms) < 2:
        return list(arms)
    best = min(arms, key=lambda arm: statistics.median(arm.seconds))
    return [arm for arm in arms if arm is best or not _is_slower(arm.seconds, best.seconds)]


def winner(arms: Sequence[Arm], current: Value) -> Value:
    """The fastest of those that came furthest, if it is faster than the current value beyond doubt; else the current one."""
    whole = [arm for arm in arms if arm.error is None and len(arm.seconds) >= _FEWEST]
    incumbent = next((arm for arm in whole if arm.value == current), None)
    furthest = max((len(arm.seconds) for arm in whole), default=0)
    last = [arm for arm in whole if len(arm.seconds) == furthest]
    if not last:
        return current
    best = min(last, key=lambda arm: statistics.median(arm.seconds))
    if incumbent is None:  # it is not possible any more
        return best.value
    return best.value if _compare(incumbent, best).verdict == "faster" else current


def are_alike(arms: Sequence[Arm]) -> bool:
    """Whether none differs from the fastest by enough to go on."""
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
