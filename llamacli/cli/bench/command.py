"""`llamacli bench`: how fast models run here, in figures that can be trusted and compared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llamacli.cli.bench.options import PlanOptions, ReportOptions, SetupOptions, WorkOptions, expand
from llamacli.cli.bench.plot import check_plot
from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.errors import CancelledError, LlamacliError, RowsFailedError

if TYPE_CHECKING:
    from llamacli.bench.measure.params import BenchTest, Machine, MeasurePlan

GRACE_SECONDS = 5.0
"""How long a run may take after Ctrl-C to write what was measured."""


@command(
    examples=(
        ("The usual two figures: prompt and generation.", "llamacli bench -m model.gguf"),
        ("Which number of threads is best?", "llamacli bench -t 1-8*2"),
        ("How long does a user wait?", "llamacli bench --latency -p 256,1024 -n 64"),
        ("Many users at once.", "llamacli bench -p 0 -n 64 --parallel 1-8*2"),
        ("With a long context, until ±1 % is known.", "llamacli bench -d 0,4096 --until-stable 1"),
    )
)
def bench(
    app: AppContext,
    *,
    work: WorkOptions,
    setup: SetupOptions,
    plan: PlanOptions,
    report: ReportOptions,
) -> None:
    """Measure how fast models run.

    The options are llama-bench's, and so are the tests: pp is tokens of a prompt, tg generated tokens, in tokens per second.
    Lists (512,1024), ranges (128-512+128, 1-8*2) and repeated options measure each combination.

    Tests are warmed up until they are steady, and their repetitions take turns. The table shows the median with its 95 %
    interval. What disturbs a test is told with what helps. A test that fails has a row that says so, and the others go on:
    exit status 6. Ctrl-C keeps what was measured.

    Runs are stored: `llamacli bench history` lists them, `show` and `export` write them again, `compare` says whether one is
    faster and how sure that is. `roofline` shows how close a model comes to what this machine can do, `tune` finds the
    fastest settings for it.
    """
    from llamacli.bench.measure.resources import describe_machine

    if report.json:
        report = replace(report, output="json")
    check_plot(report.plot)
    planned = plan.plan()
    expand(work, setup, [""])  # mistakes are told before a model is fetched
    models = [str(app.find_model(app, reference, offline=work.offline)) for reference in work.references]
    tests = expand(work, setup, models)
    run = _Run(app, report, describe_machine(), tests)
    try:
        failures = run.measure(planned)
    finally:
        run.end((work, setup, plan))
    if len(failures) == len(tests):
        raise failures[0]
    if failures:
        raise RowsFailedError(f"{len(failures)} of {len(tests)} tests failed", failed=len(failures), total=len(tests))


bench.groups = {
    "history": "llamacli.cli.bench.history",
    "show": "llamacli.cli.bench.history",
    "export": "llamacli.cli.bench.history",
    "rm": "llamacli.cli.bench.history",
    "compare": "llamacli.cli.bench.compare",
    "roofline": "llamacli.cli.bench.roofline",
    "tune": "llamacli.cli.bench.tune",
}


class _Run:
    """One run of `bench`: its rows go to the report as they come, and at the end into the history."""

    def __init__(self, app: AppContext, options: ReportOptions, machine: Machine, tests: list[BenchTest]) -> None:
        from llamacli.bench.measure.monitor import machine_notes
        from llamacli.bench.measure.params import Result
        from llamacli.bench.measure.rows import result_row
        from llamacli.cli.bench.report import Report

        self._app = app
        self._options = options
        self._machine = machine
        self._tests = tests
        self._is_whole = False
        self._report = Report(app.console, options, [result_row(Result(test=test, test_time=""), machine) for test in tests])
        for note in machine_notes():
            app.console.warn(note)
        self._report.begin()

    def measure(self, plan: MeasurePlan) -> list[LlamacliError]:
        """Runs all tests; what those that failed raised.

        Raises:
            KeyboardInterrupt, Terminated: a signal ended it; the rows so far are in the report.
        """
        from llamacli.bench.measure.params import Measured
        from llamacli.bench.measure.rows import result_row
        from llamacli.bench.measure.run import measure
        from llamacli.cli.bench.report import Steps
        from llamacli.engine.runtime.cancel import CancelFlag

        failures, flag, app = [], CancelFlag(), self._app
        with app.interrupts.guard(grace=GRACE_SECONDS) as guard, app.progress(delay=0.5) as line:
            guard.cancel = flag.set
            steps = Steps(app.console, line, len(self._tests), plan.repetitions, lines=self._options.progress)
            try:
                for event in measure(self._tests, plan, cancel=flag, on_load=steps.loading):
                    if isinstance(event, Measured):
                        self._report.add(result_row(event.result, self._machine))
                        failures += [event.failure] if event.failure is not None else []
                    else:
                        steps.step(event)
                self._is_whole = True  # the number of rows does not tell: one that a signal cut short is among them
            except CancelledError:
                if guard.received is None:
                    raise
        return failures

    def end(self, groups: tuple[WorkOptions, SetupOptions, PlanOptions]) -> None:
        """Ends the report, stores the rows and draws them."""
        from llamacli.cli.bench.save import finish

        self._report.end()
        finish(self._app, self._options, groups, self._report.rows, interrupted=not self._is_whole)
