"""The benchmark run: tests are prepared, warmed up, repeated interleaved, monitored, and reported as events."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from llamacli.bench.measure.events import BenchEvent, RepetitionDone, ResultReady, StageStarted, failed, utc_now
from llamacli.bench.measure.gpu_energy import gpu_counters
from llamacli.bench.measure.monitor import DisturbanceMonitor, EnergyMeter
from llamacli.bench.measure.params import BenchResult, BenchTest, MeasurePlan, Repetition
from llamacli.bench.measure.resources import BenchResources
from llamacli.bench.measure.token_test import PreparedTest, warm_until_stable
from llamacli.bench.statistics import bootstrap_interval
from llamacli.binding.library import library
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.runtime.hardware import available_memory, default_threads
from llamacli.errors import CancelledError, CapacityError, LibraryError, LlamacliError
from llamacli.units import counted

MOST_INTERLEAVED = 64
"""The largest number of interleaved tests: with more the first rows would come too late."""

_STABLE_SAMPLES = 5
"""An interval of fewer samples says little about their stability."""


def measure(
    tests: Sequence[BenchTest],
    plan: MeasurePlan | None = None,
    *,
    cancel: Canceller | None = None,
    on_load: Callable[[float], None] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[BenchEvent]:
    """Run the tests. Those that fit in memory together are interleaved, so that a change of the machine affects all of them.

    A test that fails gets a `ResultReady` with its error, and the others continue. `on_load` is called with the loaded share of
    a model, from 0 to 1, and `pause` with fractions of the time of rest in seconds.

    Raises:
        CancelledError: if `cancel` was set; the results so far are yielded before.
        LibraryError: if the native library is missing.
    """
    plan = plan or MeasurePlan()
    waiting = list(enumerate(tests))
    with _InterleavedTests(plan, cancel or Canceller(), on_load, pause) as group:
        while waiting:
            while waiting and group.has_room(waiting[0][1]):
                try:
                    yield from group.prepare(*waiting[0])
                except CapacityError as error:
                    if group.is_shared:
                        break  # it may fit alone
                    group.fail(*waiting[0], error)
                waiting.pop(0)
            yield from group.repeat()
            group.clear([test for _, test in waiting[:1]])


class _RunningTest:
    """One of the interleaved tests, and its samples so far."""

    def __init__(self, index: int, prepared: PreparedTest, resources: BenchResources, warmups: int) -> None:
        self.index = index
        self.prepared = prepared
        self.test = prepared.test
        self.samples: list[Repetition] = []
        self.warmups = warmups
        self.error: LlamacliError | None = None
        self._resources = resources
        self._monitor = DisturbanceMonitor(threads=prepared.test.n_threads, cores=default_threads())
        self._energy = EnergyMeter(gpus=gpu_counters() if library().llama_supports_gpu_offload() else ())
        self._started = utc_now()

    def repeat(self) -> None:
        """Run one repetition."""
        if self.samples:
            self._run()
            return
        self._started = utc_now()
        with self._resources.counting_growth(self.prepared):  # warm-ups are optional, and have no depth
            self._run()

    def _run(self) -> None:
        with self._monitor.observing(), self._energy.metering():
            sample = self.prepared.run()
        self.samples.append(sample)

    @property
    def spread(self) -> float:
        """Half the width of the median's interval, in percent of the median; infinite for too few samples."""
        if len(self.samples) < _STABLE_SAMPLES:
            return float("inf")
        times = sorted(sample.total_ns for sample in self.samples)
        interval = bootstrap_interval(times)
        return 50 * (interval[1] - interval[0]) / times[len(times) // 2] if interval else float("inf")

    def result(self, plan: MeasurePlan, *, cut_short: bool = False) -> BenchResult:
        """Return the result so far."""
        count, warnings = len(self.samples), self._monitor.warnings()
        if cut_short:
            warnings += (f"interrupted after {counted(count, 'repetition')}",)
        elif plan.until_stable is not None and self.error is None and self.spread > plan.until_stable:
            warnings += (f"not stable after {count} repetitions: the median is known to ±{self.spread:.1f} %",)
        memory = self._resources.footprint(self.prepared)
        return BenchResult(
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


class _InterleavedTests:
    """A group of tests that are held in memory together and repeated by turns."""

    def __init__(
        self,
        plan: MeasurePlan,
        cancel: Canceller,
        on_load: Callable[[float], None] | None,
        pause: Callable[[float], None],
    ) -> None:
        self._plan = plan
        self._pause = pause
        self._cancel = cancel
        self._resources = BenchResources(cancel, on_load)
        self._running: list[_RunningTest] = []
        self._failed: list[ResultReady] = []

    @property
    def is_shared(self) -> bool:
        """True if other tests hold memory, too."""
        return bool(self._running)

    def has_room(self, test: BenchTest) -> bool:
        """Return whether the test probably fits beside the others; the first one is always tried."""
        if not self._running:
            return True
        available = available_memory()
        return len(self._running) < MOST_INTERLEAVED and (
            available is None or self._resources.expected_bytes(test) < available // 2
        )

    def prepare(self, index: int, test: BenchTest) -> Iterator[BenchEvent]:
        """Load and warm up one more test.

        Raises:
            CapacityError: if it does not fit.
        """
        prepared: PreparedTest | None = None
        try:
            yield StageStarted(index, test, "load", 1, 1)
            prepared = self._resources.prepare(test)
            warmups = 0
            if self._plan.warmup:
                yield StageStarted(index, test, "warm-up", 1, None)
                warmups = warm_until_stable(prepared)
            self._resources.record_memory(prepared)
        except (CancelledError, CapacityError, LibraryError):
            self._resources.discard(prepared)
            raise
        except LlamacliError as error:
            self._resources.discard(prepared)
            self.fail(index, test, error)
            return
        self._running.append(_RunningTest(index, prepared, self._resources, warmups))

    def fail(self, index: int, test: BenchTest, error: LlamacliError) -> None:
        """Record a test that could not be prepared. It is reported in order with the others."""
        self._failed.append(failed(index, test, error))

    def repeat(self) -> Iterator[BenchEvent]:
        """Run all repetitions of all tests, each followed by the same one of the next test."""
        active = list(self._running)
        count = self._plan.repetitions if self._plan.until_stable is None else None
        try:
            for number in itertools.count(1):
                for running in list(active):
                    yield StageStarted(running.index, running.test, "measure", number, count)
                    self._rest()
                    self._repeat(running)
                    if running.error is None:
                        yield RepetitionDone(running.index, running.samples[-1])
                    if self._is_done(running):
                        active.remove(running)
                        yield from self._failures(running.index)
                        yield ResultReady(running.index, running.result(self._plan), running.error)
                if not active:
                    break
        except CancelledError:
            for running in active:
                if running.samples:
                    yield from self._failures(running.index)
                    yield ResultReady(running.index, running.result(self._plan, cut_short=True), running.error)
            yield from self._failures()
            raise
        yield from self._failures()

    def _failures(self, before: int | None = None) -> Iterator[BenchEvent]:
        """Yield the failed tests before that index, each once."""
        due = [event for event in self._failed if before is None or event.index < before]
        self._failed = [event for event in self._failed if event not in due]
        yield from due

    @staticmethod
    def _repeat(running: _RunningTest) -> None:
        try:
            running.repeat()
        except (CancelledError, LibraryError):
            raise
        except LlamacliError as error:
            running.error = error

    def _is_done(self, running: _RunningTest) -> bool:
        plan, count = self._plan, len(running.samples)
        if running.error is not None:
            return True
        if plan.until_stable is None or count < plan.repetitions:
            return count >= plan.repetitions
        return count >= plan.max_repetitions or running.spread <= plan.until_stable

    def _rest(self) -> None:
        end = time.monotonic() + self._plan.delay
        self._cancel.check()
        while (left := end - time.monotonic()) > 0:
            self._pause(min(left, 0.05))
            self._cancel.check()

    def clear(self, following: Sequence[BenchTest] = ()) -> None:
        """Free the contexts, and the models that no following test needs."""
        for running in self._running:
            running.prepared.close()
        self._running = []
        self._resources.drop_models(following)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.clear()
