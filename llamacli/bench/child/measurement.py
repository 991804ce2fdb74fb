"""The measurement of a grid of tests in a child process, which goes on when the child dies."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from llamacli.bench.child.contract import MEASURE, Grid
from llamacli.bench.child.process import BenchProcess
from llamacli.bench.measure.events import BenchEvent, RepetitionDone, ResultReady, StageStarted, failed
from llamacli.bench.measure.params import BenchTest, MeasurePlan, Repetition
from llamacli.errors import LlamacliError

_log = logging.getLogger(__name__)


def measure_in_child(process: BenchProcess, tests: Sequence[BenchTest], plan: MeasurePlan) -> Iterator[BenchEvent]:
    """Run the tests as `measure` does. A test in which the child dies has failed; the others are measured in a new child.

    Raises:
        CancelledError: if the process was cancelled; the results so far are yielded before.
        EngineDiedError, MemoryFullError: if a child dies before its first test.
        LibraryError: if the native library is missing.
    """
    return _Measurement(process, tests, plan).events()


class _Measurement:
    """The tests that wait for a result, and what the child has told of those that it runs."""

    def __init__(self, process: BenchProcess, tests: Sequence[BenchTest], plan: MeasurePlan) -> None:
        self._process = process
        self._plan = plan
        self._waiting = dict(enumerate(tests))
        self._running: int | None = None
        self._samples: defaultdict[int, list[Repetition]] = defaultdict(list)
        self._deaths: list[ResultReady] = []

    def events(self) -> Iterator[BenchEvent]:
        while self._waiting:
            try:
                yield from self._run()
            except LlamacliError as error:
                if self._running is None or not self._process.has_died:
                    yield from self._due()
                    raise
                self._bury(self._running, error)
        yield from self._due()

    def _run(self) -> Iterator[BenchEvent]:
        """Measure all tests that wait, in one child."""
        self._running = None
        self._process.cancel.check()
        numbers = list(self._waiting)
        self._samples.clear()
        for event in self._process.follow(MEASURE, Grid(tuple(self._waiting.values()), self._plan)):
            index = numbers[event.index]
            if isinstance(event, StageStarted):
                self._running = index
                yield replace(event, index=index)
            elif isinstance(event, RepetitionDone):
                self._samples[index].append(event.sample)
                yield replace(event, index=index)
            elif isinstance(event, ResultReady):
                del self._waiting[index]
                yield from self._due(index)
                result = replace(event.result, samples=tuple(self._samples.pop(index, ())))
                yield replace(event, index=index, result=result)

    def _bury(self, index: int, error: LlamacliError) -> None:
        """Note the failure of the test that ran when the child died. It is reported in order with the others."""
        test = self._waiting.pop(index, None)
        if test is None:  # it had its result: the child died between tests
            _log.warning("%s", error)
        else:
            self._deaths.append(failed(index, test, error, self._samples[index]))

    def _due(self, before: int | None = None) -> Iterator[BenchEvent]:
        """Yield the tests in which a child died and that come before that index, each once."""
        due = sorted((one for one in self._deaths if before is None or one.index < before), key=lambda one: one.index)
        self._deaths = [one for one in self._deaths if one not in due]
        yield from due
