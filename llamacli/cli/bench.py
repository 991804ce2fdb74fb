"""`llamacli bench`: how fast models run here, in figures that can be trusted and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamacli.cli.bench_options import PlanOptions, ReportOptions, SetupOptions, WorkOptions, expand
from llamacli.cli.command import command
from llamacli.cli.context import AppContext
from llamacli.errors import CancelledError, LlamacliError, RowsFailedError

if TYPE_CHECKING:
    from llamacli.cli.bench_output import Report
    from llamacli.engine.measuring_params import BenchTest, Machine, MeasurePlan

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
    """
    from llamacli.engine.measuring_rig import describe_machine

    models = [str(app.find_model(app, reference, offline=work.offline)) for reference in work.references]
    tests, measure_plan = expand(work, setup, models), plan.plan()
    run_tests(app, tests, measure_plan, report, describe_machine())


def run_tests(app: AppContext, tests: list[BenchTest], plan: MeasurePlan, options: ReportOptions, machine: Machine) -> None:
    """Runs the tests and writes their rows.

    Raises:
        RowsFailedError: some tests failed; if all of them did, what the first one raised.
    """
    from llamacli.cli.bench_output import Report
    from llamacli.engine.measuring_params import Result
    from llamacli.engine.measuring_rows import result_row
    from llamacli.engine.measuring_watch import machine_notes

    for note in machine_notes():
        app.console.warn(note)
    rows = Report(app.console, options, [result_row(Result(test=test, test_time=""), machine) for test in tests])
    rows.begin()
    try:
        failures = _measure(app, tests, plan, options, machine, rows)
    finally:
        rows.end()
    if len(failures) == len(tests):
        raise failures[0]
    if failures:
        raise RowsFailedError(f"{len(failures)} of {len(tests)} tests failed", failed=len(failures), total=len(tests))


def _measure(
    app: AppContext, tests: list[BenchTest], plan: MeasurePlan, options: ReportOptions, machine: Machine, rows: Report
) -> list[LlamacliError]:
    """Measures; what the tests that failed raised."""
    from llamacli.cli.bench_output import Steps
    from llamacli.engine.cancel import CancelFlag
    from llamacli.engine.measuring import measure
    from llamacli.engine.measuring_params import Measured
    from llamacli.engine.measuring_rows import result_row

    failures, flag = [], CancelFlag()
    with app.interrupts.guard(grace=GRACE_SECONDS) as guard, app.progress(delay=0.5) as line:
        guard.cancel = flag.set
        steps = Steps(app.console, line, len(tests), plan.repetitions, lines=options.progress)
        try:
            for event in measure(tests, plan, cancel=flag, on_load=steps.loading):
                if isinstance(event, Measured):
                    rows.add(result_row(event.result, machine))
                    failures += [event.failure] if event.failure is not None else []
                else:
                    steps.step(event)
        except CancelledError:
            if guard.received is None:
                raise
    return failures
