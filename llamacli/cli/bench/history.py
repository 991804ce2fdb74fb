"""`llamacli bench history`, `show`, `export` and `rm`: the runs that were stored."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Literal, cast

from llamacli.cli.bench.plot import PlotOption, check_plot, write_plot
from llamacli.cli.framework.command import command
from llamacli.cli.framework.console import Style
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option

if TYPE_CHECKING:
    from llamacli.bench.measure.rows import Row
    from llamacli.store.benchmarks.history import History, StoredRun

ExportFormat = Literal["csv", "json", "jsonl", "md", "sql"]

RUN = "A run's number from `llamacli bench history`; last is the last one, last~1 the one before."
RunsArgument = Annotated[tuple[str, ...], argument(metavar="RUN", help=RUN)]


@command(
    examples=(
        ("What was measured?", "llamacli bench history"),
        ("All runs of one model on this machine.", "llamacli bench history --here --model qwen --limit 0"),
    )
)
def history(
    app: AppContext,
    *,
    model: Annotated[str, option("--model", environment=False, help="Only runs of models with this in the file's name.")] = "",
    test: Annotated[
        str, option("--test", metavar="NAME", environment=False, help="Only runs of tests with this in their name: pp512, tg.")
    ] = "",
    here: Annotated[bool, option("--here", environment=False, help="Only runs of this machine.")] = False,
    limit: Annotated[int, option("--limit", metavar="N", shows=20, environment=False, help="At most N runs; 0 is all.")] = 20,
    json: JsonOption = False,
) -> None:
    """List the benchmarks that were stored, the latest first."""
    from llamacli.render.bench.history import format_history, history_document
    from llamacli.store.benchmarks.history import History, database_path

    machine = _this_machine() if here else ""
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
        ("All that is known of run 12.", "llamacli bench show 12 --json"),
        ("A chart for a report.", "llamacli bench show 12 --plot run12.svg"),
    )
)
def show(
    app: AppContext,
    run: Annotated[str, argument(metavar="RUN", help=RUN)],
    *,
    plot: PlotOption = None,
    json: JsonOption = False,
) -> None:
    """Show a stored benchmark: its rows, how it was made, and on what."""
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
    from llamacli.render.bench.history import format_run
    from llamacli.render.bench.table import Table

    console = app.console
    table = Table(
        stored.rows,
        width=console.width,
        style=lambda text, style: console.styled(text, cast("Style", style), stdout=True),
    )
    console.write(format_run(stored, width=console.width))
    console.write(table.begin() + "".join(map(table.row, stored.rows)) + table.end())


@command(
    examples=(
        ("For a spreadsheet.", "llamacli bench export 12 13 -o csv > runs.csv"),
        ("For an issue.", "llamacli bench export last -o md"),
        ("Into SQLite, as llama-bench does it.", "llamacli bench export last -o sql | sqlite3 runs.db"),
    )
)
def export(
    app: AppContext,
    run: RunsArgument,
    *,
    output: Annotated[
        ExportFormat, option("-o", "--output", environment=False, help="The format: llama-bench's, with more columns.")
    ] = "json",
) -> None:
    """Write the rows of stored benchmarks in a format for other programs.

    The formats are those of `llamacli bench -o`. JSON and JSONL have every sample, and `llamacli bench compare` reads them.
    """
    from llamacli.render.bench.formats import Csv, Form, Json, JsonLines, Markdown, Sql

    rows: list[Row] = [row for stored in _runs(run) for row in stored.rows]
    forms: dict[ExportFormat, type[Csv | Json | JsonLines | Sql]] = {"csv": Csv, "json": Json, "jsonl": JsonLines, "sql": Sql}
    form: Form = Markdown(rows) if output == "md" else forms[output]()
    app.console.write(form.begin() + "".join(map(form.row, rows)) + form.end())


@command(examples=(("Forget two runs.", "llamacli bench rm 3 4"),))
def rm(app: AppContext, run: RunsArgument) -> None:
    """Remove stored benchmarks."""
    from llamacli.cli.bench.run_refs import stored_number

    with _opened() as opened:
        numbers = [stored_number(text, opened) for text in run]
        opened.remove(list(dict.fromkeys(numbers)))
    app.console.note(f"removed {len(set(numbers))} run{'s' if len(set(numbers)) > 1 else ''}")


def _runs(names: Sequence[str]) -> list[StoredRun]:
    from llamacli.cli.bench.run_refs import stored_number

    with _opened() as opened:
        return [opened.run(stored_number(name, opened)) for name in names]


@contextmanager
def _opened() -> Iterator[History]:
    from llamacli.store.benchmarks.history import History

    with closing(History()) as opened:
        yield opened


def _this_machine() -> str:
    """The fingerprint of this machine."""
    from llamacli import __version__
    from llamacli.bench.measure.provenance import describe_origin
    from llamacli.store.benchmarks.history import fingerprint

    return fingerprint(describe_origin(version=__version__)["machine"])
