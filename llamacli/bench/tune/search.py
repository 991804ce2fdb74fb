"""The search for the fastest setup of a model, within a time budget and without mistaking noise for a gain.

It is coordinate descent: one setting after the other, the most influential first, until a whole sweep changes nothing. The
values of a setting race against each other (`bench.tune.race`). The result is compared with the start on fresh measurements in
pairs, because the winner of many races is partly a lucky one. Only that comparison is reported as a gain, and changes that it
does not confirm are reverted.
"""

from __future__ import annotations

import logging
import random
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

from llamacli.bench.compare.compare import Outcome, compare_rounds, level_for
from llamacli.bench.measure.setup import Phase, Setup
from llamacli.bench.tune.dimensions import BOTH, Dimension
from llamacli.bench.tune.params import Gain, PairCompared, RaceRound, SettingChoice, TuneEvent, TunePlan, TuneReport, Value
from llamacli.bench.tune.race import LEAST_ROUNDS, RESOLUTION, Arm, race, winner
from llamacli.errors import CancelledError, CapacityError, EngineDiedError

Meter = Callable[[Setup, Phase], float]
"""A function that measures the tokens per second of a setup in a phase once. Raises LlamacliError for an impossible setup."""

LEAST_PAIRS, ENOUGH_PAIRS, MOST_PAIRS = 3, 10, 40

_log = logging.getLogger(__name__)

_CHECK_SHARE = 0.3  # of the budget, for the final comparison
_NARROW = 0.01  # half the width of an interval that is narrow enough


class Tuner:
    """One search from `start`, which has explicit numbers of threads. `measure` measures; `clock` is in seconds."""

    def __init__(
        self,
        start: Setup,
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
        self._started = clock()
        self._random = random.Random(plan.seed)
        self._choices: dict[str, SettingChoice] = {}
        self._settled: dict[str, tuple[Value, ...]] = {}
        self._races = 0
        self._seconds: dict[Phase, float] = {}
        self._speeds: dict[Phase, tuple[list[float], list[float]]] = {}

    def run(self) -> Iterator[TuneEvent]:
        """Yield the events of the search; the last one is the report, also after cancellation."""
        interrupted = False
        try:
            yield from self._search()
            yield from self._check()
        except CancelledError:
            interrupted = True
        yield self._report(interrupted=interrupted)

    # --- the search ------------------------------------------------------------------------------------------------------

    def _search(self) -> Iterator[TuneEvent]:
        """Sweep over the settings until no change of another setting justifies a second look at one."""
        end = self._started + self._plan.budget * (1 - _CHECK_SHARE)
        for phase in BOTH * 2:  # to learn how long it takes; the first time includes the preparation
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
        """Return the number of measurements for a setting; 0 if it was decided with the same values of the others."""
        count = len(setting.values(self._best))
        settled = self._settled.get(setting.name) == self._circumstances(setting)
        return count * len(setting.phases) if count > 1 and not settled else 0

    def _circumstances(self, setting: Dimension) -> tuple[Value, ...]:
        """Return the values of all other settings that affect the same phases."""
        others = (one for one in self._settings if one is not setting and set(one.phases) & set(setting.phases))
        return tuple(one.get(self._best) for one in others)

    def _decide(self, setting: Dimension, deadline: float, end: float) -> Iterator[TuneEvent]:
        """Race the values of one setting until `deadline`, and adopt the best. The search ends at `end`."""
        name, current, values = setting.name, setting.get(self._best), setting.values(self._best)
        first = self._choices[name].before if name in self._choices else current
        if len(values) < 2:
            choice = SettingChoice(name=name, before=first, after=current, note=setting.note, parameters=setting.parameters)
        elif self._clock() + self._least_seconds(setting, len(values)) > end:
            if name in self._choices:  # without time for a sweep the earlier decision stands
                return
            choice = SettingChoice(
                name=name, before=first, after=current, note="not tried: the budget is too short", parameters=("budget",)
            )
        else:
            self._races += 1
            self._settled[name] = self._circumstances(setting)
            after, arms = yield from self._race(setting, values, deadline)
            self._best = setting.set(self._best, after)
            tried = tuple(dict.fromkeys(arm.value for arm in arms if arm.seconds))
            failures = [f"{arm.value}: {arm.error.message}" for arm in arms if arm.error is not None]
            choice = SettingChoice(name=name, before=first, after=after, tried=tried, note="; ".join(failures) or None)
        self._choices[name] = choice
        yield choice

    def _least_seconds(self, setting: Dimension, values: int) -> float:
        """Return the seconds of a warm-up and the fewest rounds."""
        return values * (LEAST_ROUNDS + 1) * sum(self._seconds[phase] for phase in setting.phases)

    def _race(
        self, setting: Dimension, values: Sequence[Value], deadline: float
    ) -> Generator[TuneEvent, None, tuple[Value, list[Arm]]]:
        """Race the values together, or each against the best so far; return the best value and all arms."""
        best = setting.get(self._best)
        rivals = [value for value in values if value != best]
        arms: list[Arm] = []
        for challengers in [[rival] for rival in rivals] if setting.one_by_one else [rivals]:
            runners = [Arm(value, setting.set(self._best, value)) for value in (best, *challengers)]
            yield RaceRound(setting.name, 1, tuple(arm.value for arm in runners))
            for number, remaining in race(
                runners, lambda setup: self._job_seconds(setup, setting.phases), lambda: self._clock() < deadline, self._random
            ):
                yield RaceRound(setting.name, number + 1, tuple(arm.value for arm in remaining))
            best = winner(runners, best)
            arms += runners
        return best, arms

    def _job_seconds(self, setup: Setup, phases: Sequence[Phase]) -> float:
        """Return the seconds of the phases of the job, by one measurement of each."""
        return sum(self._tokens(phase) / self._speed(setup, phase) for phase in phases)

    def _speed(self, setup: Setup, phase: Phase) -> float:
        before = self._clock()
        speed = self._measure(setup, phase)
        took = self._clock() - before
        self._seconds[phase] = min(took, self._seconds.get(phase, took))
        return speed

    def _tokens(self, phase: Phase) -> int:
        return self._plan.n_prompt if phase == "prompt" else self._plan.n_gen

    # --- the final comparison ----------------------------------------------------------------------------------------------

    def _changed(self) -> list[Dimension]:
        return [setting for setting in self._settings if setting.get(self._best) != setting.get(self._start)]

    def _check(self) -> Iterator[TuneEvent]:
        """Compare start and best in pairs, in the phases that a change affects; then revert unconfirmed changes."""
        phases = [phase for phase in BOTH if any(phase in setting.phases for setting in self._changed())]
        self._speeds = {phase: ([], []) for phase in phases}
        for pair in range(1, MOST_PAIRS + 1):
            if not phases or (pair > LEAST_PAIRS and self._clock() >= self._started + self._plan.budget):
                break
            if pair > ENOUGH_PAIRS and all(_is_narrow(self._outcome(phase)) for phase in phases):
                break
            try:
                for phase in phases:
                    sides = [(self._start, self._speeds[phase][0]), (self._best, self._speeds[phase][1])]
                    for setup, speeds in sides if pair % 2 else reversed(sides):
                        speeds.append(self._speed(setup, phase))
            except (CapacityError, EngineDiedError) as error:
                _log.warning("the comparison ended early: %s", error.message)
                break
            yield PairCompared(pair)
        for setting in self._unconfirmed():
            self._best = setting.set(self._best, setting.get(self._start))

    def _unconfirmed(self) -> list[Dimension]:
        """Return the changes without a proven gain. If one affects both phases, all are judged together."""
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
        """Return the gain of the whole job, in tokens per second."""
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
            seconds=self._clock() - self._started,
            interrupted=interrupted,
        )


def _is_narrow(outcome: Outcome) -> bool:
    return outcome.interval is not None and outcome.interval[1] - outcome.interval[0] < 2 * _NARROW
