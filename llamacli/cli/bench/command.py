"""`llamacli bench`: measure the speed of models on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.bench.combinations import expand
from llamacli.cli.bench.load_options import LoadOptions
from llamacli.cli.bench.options import PlanOptions, ReportOptions, SetupOptions, WorkOptions
from llamacli.cli.bench.plot import check_plot
from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import RemoteOptions
from llamacli.errors import CancelledError, LlamacliError, RowsFailedError, UsageError
from llamacli.media.kind import MediaKind
from llamacli.units import out_of

if TYPE_CHECKING:
    from llamacli.bench.child.process import BenchProcess
    from llamacli.bench.measure.params import BenchTest, MeasurePlan

_IMAGES: tuple[MediaKind, ...] = ("image",)

GRACE_SECONDS = 5.0
"""Seconds that a run may take after Ctrl-C to write its results."""


@command(
    examples=(
        ("Measure prompt processing and generation.", "llamacli bench -m model.gguf"),
        ("Compare numbers of threads.", "llamacli bench -t 1-8*2"),
        ("Measure the time to the first token and between tokens.", "llamacli bench --latency -p 256,1024 -n 64"),
        ("Measure several sequences in parallel.", "llamacli bench -p 0 -n 64 --parallel 1-8*2"),
        ("Measure a question about a picture.", "llamacli bench -m model.gguf --image 512x512,1024x768 -p 64 -n 16"),
        ("Put a server under load.", "llamacli bench --url http://localhost:8080 --concurrency 1,4,16 -p 512 -n 64"),
        ("Measure with a long context, to a precision of ±1 %.", "llamacli bench -d 0,4096 --until-stable 1"),
    ),
    common=("-m", "-p", "-n", "-d", "-r", "-t", "-ngl", "-fa", "--latency", "--image", "--until-stable", "--url", "-o"),
)
def bench(
    app: AppContext,
    *,
    work: WorkOptions,
    setup: SetupOptions,
    plan: PlanOptions,
    report: ReportOptions,
    load: LoadOptions,
    remote: RemoteOptions,
    reread: Reread,
) -> None:
    """Measure how fast models run.

    Options and tests are those of llama-bench: pp is prompt processing, tg is text generation, in tokens per second. Lists
    (512,1024), ranges (128-512+128, 1-8*2) and repeated options measure each combination.

    Tests are warmed up until they are steady, and their repetitions are interleaved. The table shows the median with its 95 %
    interval. Disturbances are reported with a remedy. A failed test has a row with its error, the other tests continue, and the
    exit status is 6. Ctrl-C keeps the results so far. Models are measured in a process of their own: a test in which it dies
    is a failed one.

    With --image each chat turn has a picture of random pixels that the model has not seen. The table shows its tokens, the time
    of its encoding and that to the first token; tokens per second are those of the text. The projector is --mmproj, or the one
    beside the model.

    With --url a server is put under load: --concurrency requests at once, or --rate of them a second, with prompts of -p tokens
    and answers of -n. It reports the times to the first token, between tokens and of whole answers, and errors by their kind.

    Runs are stored: `llamacli bench history` lists them, `show` and `export` write them again, `compare` tells whether one is
    faster beyond noise. `roofline` shows which share of this machine's limits a model reaches, `tune` finds the fastest
    settings for it, `quality` measures what quantizations and settings cost in quality.
    """
    from llamacli.engine.runtime.canceller import Canceller

    if report.json:
        report = replace(report, output="json")
    check_plot(report.plot)
    if remote.url:
        from llamacli.cli.bench.load import run_load

        run_load(app, work, plan, report, load, remote, reread.given)
        return
    if load.any:
        raise UsageError("--concurrency, --rate, --requests, --seconds, --prompts, --warm-prefix and --slo need --url")
    planned = plan.plan()
    if reread.given("mmproj") and not work.image:
        raise UsageError("--mmproj needs --image")
    expand(work, setup, [""])  # report mistakes before a model is downloaded
    models = [str(app.find_model(app, reference, offline=work.offline)) for reference in work.references]
    projectors = _find_projectors(app, work, models) if work.image else {}
    tests = expand(work, setup, models, projectors)
    child, reads = replace(plan.child(), rpc=setup.rpc), [Path(name) for name in projectors.values()]
    with app.open_bench([Path(model) for model in models], Canceller(), reads=reads, child=child) as process:
        run = _BenchSession(app, report, process, tests)
        try:
            failures = run.measure(planned)
        finally:
            run.end((work, setup, plan))
    if len(failures) == len(tests):
        raise failures[0]
    if failures:
        raise RowsFailedError(f"{out_of(len(failures), len(tests), 'test')} failed", failed=len(failures), total=len(tests))


bench.groups = {
    "history": "llamacli.cli.bench.history",
    "show": "llamacli.cli.bench.history",
    "export": "llamacli.cli.bench.history",
    "rm": "llamacli.cli.bench.history",
    "compare": "llamacli.cli.bench.compare",
    "quality": "llamacli.cli.bench.quality.command",
    "roofline": "llamacli.cli.bench.roofline",
    "tune": "llamacli.cli.bench.tune",
}


def _find_projectors(app: AppContext, work: WorkOptions, models: Sequence[str]) -> dict[str, str]:
    """Return the projector of each model. Raises UsageError if one takes no images."""
    from llamacli.cli.framework.media import require_projector
    from llamacli.cli.framework.options import ProjectorOptions

    projector = ProjectorOptions(mmproj=work.mmproj)
    found = {}
    for model, reference in zip(models, work.references, strict=True):
        path = require_projector(app, Path(model), reference, projector, _IMAGES, offline=work.offline)
        found[model] = str(path)
    return found


class _BenchSession:
    """One run of `bench`: its rows are reported as they come, and stored in the history at the end."""

    def __init__(self, app: AppContext, options: ReportOptions, process: BenchProcess, tests: list[BenchTest]) -> None:
        from llamacli.bench.measure.monitor import machine_notes
        from llamacli.bench.measure.params import BenchResult
        from llamacli.bench.measure.provenance import machine_of
        from llamacli.bench.measure.rows import result_row
        from llamacli.cli.bench.report import Report
        from llamacli.render.bench.chart import row_names

        self._app = app
        self._options = options
        self._process = process
        self._build = process.build()
        self._machine = machine_of(self._build)
        self._tests = tests
        self._is_complete = False
        planned = [result_row(BenchResult(test=test, test_time=""), self._machine) for test in tests]
        self._names = row_names(planned)
        self._report = Report(app.console, options, planned)
        for note in machine_notes():
            app.console.warn(note)
        self._report.begin()

    def measure(self, plan: MeasurePlan) -> list[LlamacliError]:
        """Run all tests and return the errors of those that failed.

        Raises:
            KeyboardInterrupt, Terminated: if a signal ended the run; the rows so far are in the report.
        """
        from llamacli.bench.child.measurement import measure_in_child
        from llamacli.bench.measure.events import ResultReady, StageStarted
        from llamacli.bench.measure.rows import result_row
        from llamacli.cli.bench.report import ProgressReporter

        failures, app = [], self._app
        with app.interrupts.guard(grace=GRACE_SECONDS) as guard, app.progress(delay=0.5) as line:
            guard.cancel = self._process.cancel.set
            steps = ProgressReporter(app.console, line, self._names, plan.repetitions, lines=self._options.progress)
            self._process.on_load = steps.loading
            try:
                for event in measure_in_child(self._process, self._tests, plan):
                    if isinstance(event, ResultReady):
                        self._report.add(result_row(event.result, self._machine))
                        failures += [event.failure] if event.failure is not None else []
                    elif isinstance(event, StageStarted):
                        steps.step(event)
                self._is_complete = True  # the rows alone do not show it: they include one that a signal cut short
            except CancelledError:
                if guard.received is None:
                    raise
        return failures

    def end(self, groups: tuple[WorkOptions, SetupOptions, PlanOptions]) -> None:
        """End the report, and store and draw the rows."""
        from llamacli.cli.bench.save import finish

        self._report.end()
        finish(self._app, self._options, groups, self._report.rows, self._build, interrupted=not self._is_complete)
