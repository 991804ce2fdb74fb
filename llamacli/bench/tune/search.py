"""Looks for the fastest way to run a model, within a time budget, and knows what is only noise.

It is coordinate descent: one setting after the other, the most influential first, until a whole sweep changes nothing. The
values of a setting race against each other (`engine.tuning_race`). What comes out is compared with the start once more, on
fresh measurements in pairs, because the winner of many races is partly a lucky one; only that comparison is told as a gain, and
what it does not confirm is taken back.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

from llamacli.bench.compare.compare import Outcome, compare_rounds, level_for
from llamacli.bench.measure.trial import Phase, Way
from llamacli.bench.tune.dimensions import BOTH, Dimension
from llamacli.bench.tune.params import Checking, Choice, Gain, Racing, TuneEvent, TunePlan, TuneReport, Value
from llamacli.bench.tune.race import LEAST_ROUNDS, RESOLUTION, Arm, race, winner
from llamacli.errors import CancelledError

Meter = Callable[[Way, Phase], float]
"""Measures once how many tokens a second a way of running makes in a phase. Raises LlamacliError where it is not possible."""

LEAST_PAIRS, ENOUGH_PAIRS, MOST_PAIRS = 3, 10, 40

_CHECK_SHARE = 0.3  # of the budget: for the comparison at the end
_NARROW = 0.01  # half the width of an interval that needs no more pairs


class Tuner:
    """One search from `start`, whose threads are numbers. `measure` is asked for everything; `clock` tells seconds."""

    def __init__(
        self,
        start: Way,
        settings: Sequence[Dimension],
        measure: Meter,
        plan: TunePlan,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = self._best = start
        self._settings = settings
        self._measure = measure
        self._plan = plan
        self._clock = clock
        self._began = clock()
        self._random = random.Random(plan.seed)
        self._choices: dict[str, Choice] = {}
        self._settled: dict[str, tuple[Value, ...]] = {}
        self._races = 0
        self._seconds: dict[Phase, float] = {}
        self._speeds: dict[Phase, tuple[list[float], list[float]]] = {}

    def run(self) -> Iterator[TuneEvent]:
        """The search, told as it goes; the last event is the report, also when it was cancelled."""
        interrupted = False
        try:
            yield from self._search()
            yield from self._check()
        except CancelledError:
            interrupted = True
        yield self._report(interrupted=interrupted)

    # --- the search ------------------------------------------------------------------------------------------------------

    def _search(self) -> Iterator[TuneEvent]:
        """Sweeps over the settings until none is left that another one's change could have made worth a second look."""
        end = self._began + self._plan.budget * (1 - _CHECK_SHARE)
        for phase in BOTH * 2:  # to know how long that takes; the first time it includes getting ready
            self._speed(self._start, phase)
        while True:
            before = self._races
            for index, setting in enumerate(self._settings):
                work = [self._work(one) for one in self._settings[index:]]
                if not work[0] and setting.name in self._choices:
                    continue
                now = self._clock()
                yield from self._decide(setting, now + max(0.0, end - now) * work[0] / max(1, sum(work)), end)
            if self._races == before or self._clock() >= end or not any(map(self._work, self._settings)):
                return

    def _work(self, setting: Dimension) -> int:
        """How much there is to measure for a setting; 0 if it has been decided under the same circumstances."""
        count = len(setting.values(self._best))
        settled = self._settled.get(setting.name) == self._circumstances(setting)
        return count * len(setting.phases) if count > 1 and not settled else 0

    def _circumstances(self, setting: Dimension) -> tuple[Value, ...]:
        """The values of all other settings that touch the same phases."""
        others = (one for one in self._settings if one is not setting and set(one.phases) & set(setting.phases))
        return tuple(one.get(self._best) for one in others)

    def _decide(self, setting: Dimension, deadline: float, end: float) -> Iterator[TuneEvent]:
        """Races the values of one setting until `deadline`, and moves on to the best of them. The search ends at `end`."""
        name, current, values = setting.name, setting.get(self._best), setting.values(self._best)
        first = self._choices[name].before if name in self._choices else current
        if len(values) < 2:
            choice = Choice(name=name, before=first, after=current, note=setting.note(self._best))
        elif self._clock() + self._least_seconds(setting, len(values)) > end:
            if name in self._choices:  # a sweep for which there is no time says nothing new
                return
            choice = Choice(name=name, before=first, after=current, note="not tried: the budget is too short")
        else:
            self._races += 1
            self._settled[name] = self._circumstances(setting)
            after, arms = yield from self._race(setting, values, deadline)
            self._best = setting.set(self._best, after)
            tried = tuple(dict.fromkeys(arm.value for arm in arms if arm.seconds))
            failures = [f"{arm.value}: {arm.error.message}" for arm in arms if arm.error is not None]
            choice = Choice(name=name, before=first, after=after, tried=tried, note="; ".join(failures) or None)
        self._choices[name] = choice
        yield choice

    def _least_seconds(self, setting: Dimension, values: int) -> float:
        """What the fewest rounds take, and a warm-up."""
        return values * (LEAST_ROUNDS + 1) * sum(self._seconds[phase] for phase in setting.phases)

    def _race(
        self, setting: Dimension, values: Sequence[Value], deadline: float
    ) -> Generator[TuneEvent, None, tuple[Value, list[Arm]]]:
        """The best value, and all that raced: together, or each against the best so far."""
        best = setting.get(self._best)
        rivals = [value for value in values if value != best]
        arms: list[Arm] = []
        for challengers in [[rival] for rival in rivals] if setting.one_by_one else [rivals]:
            runners = [Arm(value, setting.set(self._best, value)) for value in (best, *challengers)]
            for number, left in race(
                runners, lambda way: self._job_seconds(way, setting.phases), lambda: self._clock() < deadline, self._random
            ):
                yield Racing(setting.name, number, tuple(arm.value for arm in left))
            best = winner(runners, best)
            arms += runners
        return best, arms

    def _job_seconds(self, way: Way, phases: Sequence[Phase]) -> float:
        """How long the phases of the job take, by one measurement of each."""
        return sum(self._tokens(phase) / self._speed(way, phase) for phase in phases)

    def _speed(self, way: Way, phase: Phase) -> float:
        before = self._clock()
        speed = self._measure(way, phase)
        took = self._clock() - before
        self._seconds[phase] = min(took, self._seconds.get(phase, took))
        return speed

    def _tokens(self, phase: Phase) -> int:
        return self._plan.n_prompt if phase == "prompt" else self._plan.n_gen

    # --- the comparison at the end ---------------------------------------------------------------------------------------

    def _changed(self) -> list[Dimension]:
        return [setting for setting in self._settings if setting.get(self._best) != setting.get(self._start)]

    def _check(self) -> Iterator[TuneEvent]:
        """Pairs of start and best, in the phases that a change touches; then what was not confirmed is taken back."""
        phases = [phase for phase in BOTH if any(phase in setting.phases for setting in self._changed())]
        self._speeds = {phase: ([], []) for phase in phases}
        for pair in range(1, MOST_PAIRS + 1):
            if not phases or (pair > LEAST_PAIRS and self._clock() >= self._began + self._plan.budget):
                break
            if pair > ENOUGH_PAIRS and all(_is_narrow(self._outcome(phase)) for phase in phases):
                break
            for phase in phases:
                sides = [(self._start, self._speeds[phase][0]), (self._best, self._speeds[phase][1])]
                for way, speeds in sides if pair % 2 else reversed(sides):
                    speeds.append(self._speed(way, phase))
            yield Checking(pair)
        for setting in self._unconfirmed():
            self._best = setting.set(self._best, setting.get(self._start))

    def _unconfirmed(self) -> list[Dimension]:
        """The changes that the comparison does not show to help. One that touches both phases is judged with all the others."""
        changed = self._changed()
        if any(len(setting.phases) > 1 for setting in changed):
            overall = self._overall()
            return [] if overall is not None and overall.is_shown else changed
        gains = {phase: self._gain(phase) for phase in self._speeds}
        return [one for one in changed if not ((gain := gains[one.phases[0]]) and gain.is_shown)]

    def _gain(self, phase: Phase) -> Gain | None:
        before, after = self._speeds.get(phase, ([], []))
        if not before or not after:
            return None
        return Gain(before=statistics.median(before), after=statistics.median(after), outcome=self._outcome(phase))

    def _outcome(self, phase: Phase) -> Outcome:
        return compare_rounds(*self._speeds[phase], level=level_for(len(self._speeds)), resolution=RESOLUTION)

    def _overall(self) -> Gain | None:
        """The whole job, in tokens per second."""
        if len(self._speeds) < len(BOTH) or not all(both[0] and both[1] for both in self._speeds.values()):
            return None
        total = sum(self._tokens(phase) for phase in BOTH)
        before, after = (
            [
                total / sum(self._tokens(phase) / speed for phase, speed in zip(BOTH, pair, strict=True))
                for pair in zip(*(self._speeds[phase][side] for phase in BOTH), strict=False)
            ]
            for side in (0, 1)
        )
        outcome = compare_rounds(before, after, level=level_for(1), resolution=RESOLUTION)
        return Gain(before=statistics.median(before), after=statistics.median(after), outcome=outcome)

    def _report(self, *, interrupted: bool) -> TuneReport:
        final = {setting.name: setting.get(self._best) for setting in self._settings}
        return TuneReport(
            start=self._start,
            best=self._best,
            choices=tuple(
                one
                if one.after == final[one.name]
                else replace(one, after=final[one.name], note=f"{one.after} won its race, but not the comparison")
                for one in self._choices.values()
            ),
            prompt=self._gain("prompt"),
            generation=self._gain("generation"),
            overall=self._overall(),
            seconds=self._clock() - self._began,
            interrupted=interrupted,
        )


def _is_narrow(outcome: Outcome) -> bool:
    return outcome.interval is not None and outcome.interval[1] - outcome.interval[0] < 2 * _NARROW
