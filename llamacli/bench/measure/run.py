"""Runs benchmarks: tests are made ready, warmed up, repeated in turns, watched, and told as events."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from llamacli.bench.measure.gpu_energy import gpu_counters
from llamacli.bench.measure.monitor import EnergyMeter, Watch
from llamacli.bench.measure.params import BenchEvent, BenchTest, Measured, MeasurePlan, Result, Sample, Working
from llamacli.bench.measure.resources import Rig
from llamacli.bench.measure.token_test import Ready, warm_until_stable
from llamacli.bench.statistics import bootstrap_interval
from llamacli.binding.library import library
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import available_memory, default_threads
from llamacli.errors import CancelledError, CapacityError, LibraryError, LlamacliError

MOST_TOGETHER = 64
"""So many tests take turns at most: the first rows would come too late."""

_STABLE_SAMPLES = 5
"""An interval of fewer samples says little about how steady they are."""


def measure(
    tests: Sequence[BenchTest],
    plan: MeasurePlan | None = None,
    *,
    cancel: CancelFlag | None = None,
    on_load: Callable[[float], None] | None = None,
) -> Iterator[BenchEvent]:
    """Runs the tests. Those that fit in memory together take turns, so that what changes on the machine meanwhile changes all.

    A test that fails has a `Measured` with its error, and the others go on. `on_load` is told how far a model is loaded.

    Raises:
        CancelledError: `cancel` was set; what had been measured until then was told before.
        LibraryError: the native library is missing.
    """
    plan = plan or MeasurePlan()
    waiting = list(enumerate(tests))
    with _Round(plan, cancel or CancelFlag(), on_load) as turns:
        while waiting:
            while waiting and turns.has_room(waiting[0][1]):
                try:
                    yield from turns.prepare(*waiting[0])
                except CapacityError as error:
                    if turns.is_shared:
                        break  # alone it may fit
                    turns.fail(*waiting[0], error)
                waiting.pop(0)
            yield from turns.repeat()
            turns.clear([test for _, test in waiting[:1]])


def failed(test: BenchTest, error: LlamacliError) -> Result:
    """The row of a test that never ran."""
    return Result(test=test, test_time=_now(), error=error.message)


class _Slot:
    """One test of a round, and what was found so far."""

    def __init__(self, index: int, ready: Ready, rig: Rig, warmups: int) -> None:
        self.index = index
        self.ready = ready
        self.test = ready.test
        self.samples: list[Sample] = []
        self.warmups = warmups
        self.error: LlamacliError | None = None
        self._rig = rig
        self._watch = Watch(threads=ready.test.n_threads, cores=default_threads())
        self._energy = EnergyMeter(gpus=gpu_counters() if library().llama_supports_gpu_offload() else ())
        self._started = _now()

    def repeat(self) -> None:
        """One repetition."""
        if self.samples:
            self._run()
            return
        self._started = _now()
        with self._rig.growing(self.ready):  # there may have been no warm-up, and none has the test's depth
            self._run()

    def _run(self) -> None:
        with self._watch.watching(), self._energy.metering():
            sample = self.ready.run()
        self.samples.append(sample)

    @property
    def spread(self) -> float:
        """Half the width of the median's interval, in percent of the median; infinite for too few samples."""
        if len(self.samples) < _STABLE_SAMPLES:
            return float("inf")
        times = sorted(sample.total_ns for sample in self.samples)
        interval = bootstrap_interval(times)
        return 50 * (interval[1] - interval[0]) / times[len(times) // 2] if interval else float("inf")

    def result(self, plan: MeasurePlan, *, cut_short: bool = False) -> Result:
        """The row."""
        count, warnings = len(self.samples), self._watch.warnings()
        if cut_short:
            warnings += (f"interrupted after {count} repetition{'s' if count > 1 else ''}",)
        elif plan.until_stable is not None and self.error is None and self.spread > plan.until_stable:
            warnings += (f"not stable after {count} repetitions: the median is known to ±{self.spread:.1f} %",)
        memory = self._rig.footprint(self.ready)
        return Result(
            test=self.test,
            test_time=self._started,
            model=memory.facts,
            samples=tuple(self.samples),
            interval_ns=bootstrap_interval([sample.total_ns for sample in self.samples]) if self.samples else None,
            warmups=self.warmups,
            load_ms=memory.load_ms,
            peak_memory=memory.host,
            device_memory=memory.device,
            energy_j=self._energy.joules / count if self._energy.source and count else None,
            energy_source=self._energy.source,
            warnings=warnings,
            error=None if self.error is None else self.error.message,
        )


class _Round:
    """The tests that take turns, on one rig."""

    def __init__(self, plan: MeasurePlan, cancel: CancelFlag, on_load: Callable[[float], None] | None) -> None:
        self._plan = plan
        self._cancel = cancel
        self._rig = Rig(cancel, on_load)
        self._slots: list[_Slot] = []
        self._failed: list[Measured] = []

    @property
    def is_shared(self) -> bool:
        """Whether others hold memory, too."""
        return bool(self._slots)

    def has_room(self, test: BenchTest) -> bool:
        """Whether the test probably fits beside the others; it does if there are none."""
        if not self._slots:
            return True
        available = available_memory()
        return len(self._slots) < MOST_TOGETHER and (available is None or self._rig.expected_bytes(test) < available // 2)

    def prepare(self, index: int, test: BenchTest) -> Iterator[BenchEvent]:
        """Loads and warms up one more test.

        Raises:
            CapacityError: it does not fit.
        """
        ready: Ready | None = None
        try:
            yield Working(index, test, "load", 1, 1)
            ready = self._rig.make_ready(test)
            warmups = 0
            if self._plan.warmup:
                yield Working(index, test, "warm-up", 1, None)
                warmups = warm_until_stable(ready)
            self._rig.take_note(ready)
        except (CancelledError, CapacityError, LibraryError):
            self._rig.discard(ready)
            raise
        except LlamacliError as error:
            self._rig.discard(ready)
            self.fail(index, test, error)
            return
        self._slots.append(_Slot(index, ready, self._rig, warmups))

    def fail(self, index: int, test: BenchTest, error: LlamacliError) -> None:
        """Notes a test that could not be made ready. It is told in its place among the others."""
        self._failed.append(Measured(index, failed(test, error), error))

    def repeat(self) -> Iterator[BenchEvent]:
        """All repetitions of all tests, each followed by the same one of the next test."""
        active = list(self._slots)
        count = self._plan.repetitions if self._plan.until_stable is None else None
        try:
            for number in itertools.count(1):
                for slot in list(active):
                    yield Working(slot.index, slot.test, "measure", number, count)
                    self._rest()
                    self._repeat(slot)
                    if self._is_done(slot):
                        active.remove(slot)
                        yield from self._failures(slot.index)
                        yield Measured(slot.index, slot.result(self._plan), slot.error)
                if not active:
                    break
        except CancelledError:
            for slot in active:
                if slot.samples:
                    yield from self._failures(slot.index)
                    yield Measured(slot.index, slot.result(self._plan, cut_short=True), slot.error)
            yield from self._failures()
            raise
        yield from self._failures()

    def _failures(self, before: int | None = None) -> Iterator[BenchEvent]:
        """The failed tests in front of that one, each told once."""
        due = [event for event in self._failed if before is None or event.index < before]
        self._failed = [event for event in self._failed if event not in due]
        yield from due

    @staticmethod
    def _repeat(slot: _Slot) -> None:
        try:
            slot.repeat()
        except (CancelledError, LibraryError):
            raise
        except LlamacliError as error:
            slot.error = error

    def _is_done(self, slot: _Slot) -> bool:
        plan, count = self._plan, len(slot.samples)
        if slot.error is not None:
            return True
        if plan.until_stable is None or count < plan.repetitions:
            return count >= plan.repetitions
        return count >= plan.max_repetitions or slot.spread <= plan.until_stable

    def _rest(self) -> None:
        end = time.monotonic() + self._plan.delay
        self._cancel.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
            self._cancel.check()

    def clear(self, following: Sequence[BenchTest] = ()) -> None:
        """Frees the contexts, and the models that no following test needs."""
        for slot in self._slots:
            slot.ready.close()
        self._slots = []
        self._rig.drop_models(following)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.clear()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
