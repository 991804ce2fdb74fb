"""`bench --url`: a load test of a server."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llamacli.bench.load.params import LoadTest, Sample
from llamacli.bench.load.prompts import MakeRequest, from_conversations, read_prompts, to_measure
from llamacli.bench.load.rows import load_row
from llamacli.bench.load.run import LoadRun
from llamacli.bench.measure.provenance import machine_of
from llamacli.bench.measure.rows import Row
from llamacli.cli.bench.list_options import joined
from llamacli.cli.bench.load_options import LoadOptions, read_objective
from llamacli.cli.bench.options import PlanOptions, ReportOptions, SetupOptions, WorkOptions
from llamacli.cli.bench.report import Report, painter
from llamacli.cli.bench.save import finish
from llamacli.cli.framework.backends.remote import open_clients, remote_name
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import RemoteOptions
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import LlamacliError, RowsFailedError, UsageError
from llamacli.render.bench.load import LoadTable
from llamacli.units import out_of

if TYPE_CHECKING:
    from llamacli.backend.remote.client import Client
    from llamacli.backend.remote.pool import Endpoint
    from llamacli.engine.system import NativeBuild

Given = Callable[[str], bool]
"""Returns whether the parameter of that name is from the command line."""

_FEWEST, _EACH = 20, 10
"""The default number of requests of a test: at least this many, and this many for each of those at once."""

_REPEATING = ("repetitions", "until_stable", "delay")
"""Parameters of repetitions, which a load test does not have."""

GRACE_SECONDS = 5.0


def run_load(
    app: AppContext,
    work: WorkOptions,
    plan: PlanOptions,
    report: ReportOptions,
    load: LoadOptions,
    remote: RemoteOptions,
    given: Given,
) -> None:
    """Test the server of `--url`, or several that share the requests, and report, store and draw the rows.

    Raises:
        UsageError: if the options cannot be used together or with a server.
        RemoteError: if there is no server.
        RowsFailedError: if in some tests no request was answered.
    """
    from llamacli.backend.remote.pool import find_endpoints

    tests = load_tests(work, load, given)
    # What has no effect is not in the stored command either.
    work = dataclasses.replace(work, prompt_gen=(), n_depth=(), parallel=(), mmproj=None)
    plan = PlanOptions(no_warmup=plan.no_warmup, sandbox=plan.sandbox, engine_timeout=plan.engine_timeout)
    conversations = read_prompts(load.prompts) if load.prompts is not None else None
    clients = open_clients(app, remote, plan.engine_timeout)
    try:
        endpoints = find_endpoints(clients, remote_name(work.references[0]))
        with app.open_bench([], Canceller(), child=plan.child()) as process:
            build = process.build()
        session = _LoadSession(app, report, endpoints, build, tests, url=remote.url[0])
        try:
            session.measure(conversations, warms_up=not plan.no_warmup)
        finally:
            session.end((work, plan, load, remote))
    finally:
        for client in clients:
            client.close()
    _check(session.rows)


def load_tests(work: WorkOptions, load: LoadOptions, given: Given) -> list[LoadTest]:
    """Return the tests of all combinations.

    Options for models that are measured here may come from the environment and the settings, which are for other commands, too:
    they have no effect then.

    Raises:
        UsageError: if such an option is on the command line, or options of load tests contradict each other.
    """
    of_setup, shape = "the server was set up before", "a load test has prompts and answers only"
    for is_asked, name, reason in (
        (any(given(one.name) for one in dataclasses.fields(SetupOptions)), "options of a model's setup", of_setup),
        (len(work.references) > 1, "a second model", of_setup),
        (given("parallel"), "--parallel", "--concurrency is the number of requests at once"),
        (given("prompt_gen"), "-pg", shape), (given("n_depth"), "-d", shape), (work.latency, "--latency", shape),
        (work.end_to_end, "--end-to-end", shape), (bool(work.image), "--image", shape), (given("mmproj"), "--mmproj", of_setup),
        (any(map(given, _REPEATING)), "-r, --until-stable or --delay", "--requests and --seconds are the length of a test"),
    ):  # fmt: skip
        if is_asked:
            raise UsageError(f"{name} cannot be used with --url: {reason}")
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


class _LoadSession:
    """One run of load tests: their rows are reported as they come, and stored in the history at the end."""

    def __init__(
        self,
        app: AppContext,
        options: ReportOptions,
        endpoints: Sequence[Endpoint],
        build: NativeBuild,
        tests: Sequence[LoadTest],
        *,
        url: str,
    ) -> None:
        self._app, self._options, self._endpoints = app, options, endpoints
        self._build, self._machine, self._tests, self._url = build, machine_of(build), tests, url
        self._is_complete = False
        planned = [self._row(test, (), "") for test in tests]
        self._report = Report(app.console, options, planned, make_table=self._table)
        self._report.begin()

    @property
    def rows(self) -> Sequence[Row]:
        """The rows so far."""
        return self._report.rows

    def measure(self, conversations: Sequence[list[dict[str, str]]] | None, *, warms_up: bool) -> None:
        """Run the tests, with prompts from `conversations` or made ones. A signal ends them.

        Raises:
            RemoteError: if no prompts can be made, as the server fails.
        """
        first = self._endpoints[0]
        for number, test in enumerate(self._tests, start=1):
            if self._options.progress:
                self._app.console.note(f"test {number}/{len(self._tests)}, {test.name}")
            if conversations is not None:
                make = from_conversations(conversations, test, first.info)
            else:
                make = to_measure(first.client, first.info, test)
            started = datetime.now(UTC)
            samples, self._is_complete = self._run(test, make, warms_up=warms_up)
            self._report.add(self._row(test, samples, f"{started:%Y-%m-%dT%H:%M:%SZ}"))
            if not self._is_complete:
                return

    def end(self, groups: tuple[WorkOptions, PlanOptions, LoadOptions, RemoteOptions]) -> None:
        """End the report, and store and draw the rows."""
        self._report.end()
        finish(self._app, self._options, groups, self.rows, self._build, interrupted=not self._is_complete)

    def _run(self, test: LoadTest, make: MakeRequest, *, warms_up: bool) -> tuple[list[Sample], bool]:
        """Return the samples of a test, and whether no signal ended it."""
        clients: list[Client] = [endpoint.client for endpoint in self._endpoints]
        lock = threading.Lock()
        done = 0
        with self._app.interrupts.guard(grace=GRACE_SECONDS) as guard, self._app.progress(delay=0.5) as bar:

            def cancel() -> None:
                for client in clients:
                    client.cancel()

            for client in clients:
                client.begin()
            guard.cancel = cancel
            if warms_up:  # one request to each, which counts for nothing and takes no longer than the test
                warming = LoadTest(requests=len(clients), seconds=test.seconds, n_gen=1)
                LoadRun(clients, warming, lambda number: make(-1 - number)).run()
                if guard.received is None:
                    for client in clients:
                        client.begin()  # the end of the warm-up's time has cancelled them

            def show(_: Sample) -> None:
                nonlocal done
                with lock:
                    done += 1
                    bar.update(f"{test.name}: {done} answered", done, test.requests)

            samples = LoadRun(clients, test, make, show).run()
            return samples, guard.received is None

    def _row(self, test: LoadTest, samples: Sequence[Sample], test_time: str) -> Row:
        info = self._endpoints[0].info
        return load_row(test, samples, url=self._url, info=info, machine=self._machine, test_time=test_time)

    def _table(self, stdout: bool) -> LoadTable:
        console = self._app.console
        return LoadTable(width=console.line_width if stdout else console.width, style=painter(console, stdout=stdout))


def _check(rows: Sequence[Row]) -> None:
    """Raise the error of tests in which nothing was answered."""
    failed = [row for row in rows if row["error"]]
    if failed and len(failed) == len(rows):
        raise LlamacliError(f"no request was answered: {failed[0]['error']}")
    if failed:
        raise RowsFailedError(f"{out_of(len(failed), len(rows), 'test')} failed", failed=len(failed), total=len(rows))
