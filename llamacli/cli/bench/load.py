"""`bench --url`: a load test of a server."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llamacli.bench.load.params import LoadTest, Sample
from llamacli.bench.load.prompts import MakeRequest, from_conversations, read_prompts, to_measure
from llamacli.bench.load.rows import load_row
from llamacli.bench.load.run import LoadRun
from llamacli.bench.measure.provenance import machine_of
from llamacli.bench.measure.rows import Row
from llamacli.cli.bench.list_options import joined
from llamacli.cli.bench.load_options import LoadOptions, read_objective
from llamacli.cli.bench.options import PlanOptions, ReportOptions, SetupOptions, WorkOptions
from llamacli.cli.bench.report import make_format, painter
from llamacli.cli.bench.save import finish
from llamacli.cli.framework.backends.remote import open_clients, remote_name
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import RemoteOptions
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import LlamacliError, RowsFailedError, UsageError
from llamacli.render.bench.load import format_load
from llamacli.units import out_of

if TYPE_CHECKING:
    from llamacli.backend.remote.client import Client
    from llamacli.backend.remote.pool import Endpoint

_FEWEST, _EACH = 20, 10
"""Requests of a test of which none are given: so many at least, and so many for each at once."""

GRACE_SECONDS = 5.0


def run_load(
    app: AppContext,
    work: WorkOptions,
    setup: SetupOptions,
    plan: PlanOptions,
    report: ReportOptions,
    load: LoadOptions,
    remote: RemoteOptions,
) -> None:
    """Test the server of `--url`, or several that share the requests, and report, store and draw the rows.

    Raises:
        UsageError: if the options cannot be used together or with a server.
        RemoteError: if there is no server.
        RowsFailedError: if in some tests no request was answered.
    """
    from llamacli.backend.remote.pool import find_endpoints

    tests = load_tests(work, setup, load)
    conversations = read_prompts(load.prompts) if load.prompts is not None else None
    clients = open_clients(app, remote, plan.engine_timeout)
    rows: list[Row] = []
    is_whole = False
    try:
        endpoints = find_endpoints(clients, remote_name(work.references[0]))
        with app.open_bench([], Canceller(), child=plan.child()) as process:
            build = process.build()
        writer = _Writer(app, report)
        try:
            for test in tests:
                first = endpoints[0]
                if conversations is not None:
                    make = from_conversations(conversations, test, first.info)
                else:
                    make = to_measure(first.client, first.info, test)
                started = datetime.now(UTC)
                samples, is_whole = _run(app, endpoints, test, make, warms_up=not plan.no_warmup)
                time = f"{started:%Y-%m-%dT%H:%M:%SZ}"
                rows.append(
                    load_row(test, samples, url=remote.url[0], info=first.info, machine=machine_of(build), test_time=time)
                )
                writer.write(rows[-1])
                if not is_whole:
                    break
        finally:
            writer.end()
            finish(app, report, (work, plan, load, remote), rows, build, interrupted=not is_whole)
    finally:
        for client in clients:
            client.close()
    _check(rows)


def load_tests(work: WorkOptions, setup: SetupOptions, load: LoadOptions) -> list[LoadTest]:
    """Return the tests of all combinations. Raises UsageError."""
    for given, name in (
        (setup != SetupOptions(), "options of a model's setup"), (work.prompt_gen, "-pg"), (work.n_depth, "-d"),
        (work.parallel, "--parallel (--concurrency says how many ask at once)"), (work.latency, "--latency"),
        (work.end_to_end, "--end-to-end"), (len(work.references) > 1, "a second model"),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{name} cannot be used with --url: the server was set up before")
    if load.rate is not None and load.concurrency:
        raise UsageError("--rate cannot be used with --concurrency: requests come when they come")
    if load.prompts is not None and (work.n_prompt or load.warm_prefix):
        raise UsageError("-p and --warm-prefix make prompts: they cannot be used with --prompts")
    prompts = (0,) if load.prompts is not None else joined(work.n_prompt) or (512,)
    answers = joined(work.n_gen) or (128,)
    at_once = joined(load.concurrency) or (1,)

    def most(concurrency: int) -> int:
        return max(_FEWEST, _EACH * concurrency)

    return [
        LoadTest(
            concurrency=concurrency,
            rate=load.rate,
            requests=load.requests if load.requests is not None or load.seconds is not None else most(concurrency),
            seconds=load.seconds,
            n_prompt=n_prompt,
            n_gen=n_gen,
            warm_prefix=load.warm_prefix,
            objective=read_objective(load.slo),
        )
        for n_prompt, n_gen, concurrency in itertools.product(prompts, answers, at_once)
    ]


def _run(
    app: AppContext, endpoints: Sequence[Endpoint], test: LoadTest, make: MakeRequest, *, warms_up: bool
) -> tuple[list[Sample], bool]:
    """The samples of a test, and whether no signal ended it."""
    clients: list[Client] = [endpoint.client for endpoint in endpoints]
    lock = threading.Lock()
    done = 0
    with app.interrupts.guard(grace=GRACE_SECONDS) as guard, app.progress(delay=0.5) as bar:
        for client in clients:
            client.begin()
        if warms_up:  # one request to each, which counts for nothing
            LoadRun(clients, LoadTest(requests=len(clients), n_gen=1), lambda number: make(-1 - number)).run()

        def show(_: Sample) -> None:
            nonlocal done
            with lock:
                done += 1
                bar.update(f"{test.name}: {done} answered", done, test.requests)

        def cancel() -> None:
            for client in clients:
                client.cancel()

        guard.cancel = cancel
        samples = LoadRun(clients, test, make, show).run()
        return samples, guard.received is None


class _Writer:
    """Writes rows as they come: a report for people, or llama-bench's formats."""

    def __init__(self, app: AppContext, report: ReportOptions) -> None:
        self._console = app.console
        self._kind = report.output or ("table" if app.console.terminals.stdout else "md")
        self._form: Any = None

    def write(self, row: Row) -> None:
        """Write a row."""
        if self._kind == "none":
            return
        if self._kind == "table":
            self._console.write(format_load(row, width=self._console.line_width, style=painter(self._console)))
            return
        if self._form is None:
            self._form = make_format(self._kind, [row], self._console)
            self._console.show(self._form.begin())
        self._console.show(self._form.row(row))

    def end(self) -> None:
        """Write the text after the last row."""
        if self._form is not None:
            self._console.show(self._form.end())


def _check(rows: Sequence[Row]) -> None:
    """Raise the error of tests in which nothing was answered."""
    failed = [row for row in rows if row["error"]]
    if failed and len(failed) == len(rows):
        raise LlamacliError(f"no request was answered: {failed[0]['error']}")
    if failed:
        raise RowsFailedError(f"{out_of(len(failed), len(rows), 'test')} failed", failed=len(failed), total=len(rows))
