"""`llamacli bench history`, `show`, `export` and `rm`: the stored runs."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

from llamacli.cli.bench.plot import PlotOption, check_plot, write_plot
from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.bench.measure.rows import Row
    from llamacli.store.benchmarks.history import History, StoredRun

ExportFormat = Literal["csv", "json", "jsonl", "md", "sql"]

RUN = "A run's number from `llamacli bench history`; last is the latest run, last~1 the one before."
RunsArgument = Annotated[tuple[str, ...], argument(metavar="RUN", help=RUN)]


@command(
    examples=(
        ("List the stored runs.", "llamacli bench history"),
        ("List all runs of a model on this machine.", "llamacli bench history --here --model qwen --limit 0"),
    )
)
def history(
    app: AppContext,
    *,
    model: Annotated[str, option("--model", environment=False, help="Only runs of models whose file name contains this.")] = "",
    test: Annotated[
        str,
        option(
            "--test",
            metavar="NAME",
            environment=False,
            help="Only runs of tests whose name contains this, such as pp512 or tg.",
        ),
    ] = "",
    here: Annotated[bool, option("--here", environment=False, help="Only runs on this machine.")] = False,
    limit: Annotated[
        int, option("--limit", metavar="N", shows=20, environment=False, help="Maximum number of runs; 0 lists all.")
    ] = 20,
    json: JsonOption = False,
) -> None:
    """List the stored benchmarks, the latest first."""
    from llamacli.render.bench.history import format_history, history_document
    from llamacli.store.benchmarks.history import History, database_path

    machine = _this_machine(app) if here else ""
    runs = []
    if database_path().exists():
        with closing(History()) as opened:
            runs = opened.runs(model=model, test=test, machine=machine, limit=limit if 0 < limit < 2**63 else None)
    if json:
        app.console.write(json_format.dumps(history_document(runs), indent=2) + "\n")
    else:
        app.console.write(format_history(runs, width=app.console.width))


@command(
    examples=(
        ("Show the last run again.", "llamacli bench show last"),
        ("Show run 12 with all its data.", "llamacli bench show 12 --json"),
        ("Draw a chart of run 12.", "llamacli bench show 12 --plot run12.svg"),
    )
)
def show(
    app: AppContext,
    run: Annotated[str, argument(metavar="RUN", help=RUN)],
    *,
    plot: PlotOption = None,
    json: JsonOption = False,
) -> None:
    """Show a stored benchmark: its rows, command, machine and build."""
    from llamacli.render.bench.history import run_document

    check_plot(plot)
    (stored,) = _runs([run])
    if json:
        app.console.write(json_format.dumps(run_document(stored), indent=2) + "\n")
    else:
        _show_table(app, stored)
    if plot is not None:
        write_plot(app, plot, stored.rows, to_error=json)


def _show_table(app: AppContext, stored: StoredRun) -> None:
    from llamacli.cli.bench.report import painter
    from llamacli.render.bench.history import format_run
    from llamacli.render.bench.table import Table

    console = app.console
    table = Table(
        stored.rows,
        width=console.width,
        style=painter(console),
    )
    console.write(format_run(stored, width=console.width))
    console.write(table.begin() + "".join(map(table.row, stored.rows)) + table.end())


@command(
    examples=(
        ("Export for a spreadsheet.", "llamacli bench export 12 13 -o csv > runs.csv"),
        ("Export for an issue.", "llamacli bench export last -o md"),
        ("Load into SQLite.", "llamacli bench export last -o sql | sqlite3 runs.db"),
    )
)
def export(
    app: AppContext,
    run: RunsArgument,
    *,
    output: Annotated[
        ExportFormat, option("-o", "--output", environment=False, help="Output format, as llama-bench's but with more columns.")
    ] = "json",
) -> None:
    """Export the rows of stored benchmarks.

    The formats are those of `llamacli bench -o`. JSON and JSONL contain every sample, and `llamacli bench compare` reads them.
    """
    from llamacli.cli.bench.report import make_format

    rows: list[Row] = [row for stored in _runs(run) for row in stored.rows]
    form = make_format(output, rows, app.console)
    app.console.write(form.begin() + "".join(map(form.row, rows)) + form.end())


@command(examples=(("Remove two runs.", "llamacli bench rm 3 4"),))
def rm(app: AppContext, run: RunsArgument) -> None:
    """Remove stored benchmarks."""
    from llamacli.cli.bench.run_refs import stored_number

    with _opened() as opened:
        numbers = [stored_number(text, opened) for text in run]
        opened.remove(list(dict.fromkeys(numbers)))
    app.console.note(f"removed {counted(len(set(numbers)), 'run')}")


def _runs(names: Sequence[str]) -> list[StoredRun]:
    from llamacli.cli.bench.run_refs import stored_number

    with _opened() as opened:
        return [opened.run(stored_number(name, opened)) for name in names]


@contextmanager
def _opened() -> Iterator[History]:
    from llamacli.store.benchmarks.history import History

    with closing(History()) as opened:
        yield opened


def _this_machine(app: AppContext) -> str:
    """Return the fingerprint of this machine."""
    from llamacli.bench.measure.provenance import describe_origin
    from llamacli.engine.runtime.canceller import Canceller
    from llamacli.store.benchmarks.history import fingerprint
    from llamacli.version import VERSION

    with app.open_bench([], Canceller()) as process:
        return fingerprint(describe_origin(process.build(), version=VERSION)["machine"])
