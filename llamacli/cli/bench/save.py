"""The end of a benchmark: its rows are stored in the history, and drawn."""

from __future__ import annotations

import dataclasses
import shlex
import typing
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from llamacli.bench.compare.runs import subject_of
from llamacli.bench.measure.provenance import describe_origin
from llamacli.bench.measure.rows import Row
from llamacli.cli.bench.load_options import LoadOptions
from llamacli.cli.bench.options import PlanOptions, ReportOptions, SetupOptions, WorkOptions
from llamacli.cli.bench.plot import write_plot
from llamacli.cli.bench.quality.options import CandidateOptions, JudgeOptions, TaskOptions
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import RemoteOptions
from llamacli.engine.params import LoraAdapter
from llamacli.engine.system import NativeBuild
from llamacli.errors import LlamacliError
from llamacli.store.benchmarks.history import History, NewRow
from llamacli.version import VERSION

Group = WorkOptions | SetupOptions | PlanOptions | CandidateOptions | JudgeOptions | TaskOptions | LoadOptions | RemoteOptions


def finish(
    app: AppContext,
    report: ReportOptions,
    groups: Sequence[Group],
    rows: Sequence[Row],
    build: NativeBuild,
    *,
    interrupted: bool,
    command: Sequence[str] = ("bench",),
) -> None:
    """Store the rows, unless --no-save was given or nothing was measured, and draw them.

    Failures are only warnings: the rows have been written already, and their measurement took time.
    """
    if not any(row["repetitions"] for row in rows):
        return
    try:
        if not report.no_save:
            app.console.note(f"stored as run {store_run(rows, groups, build, interrupted=interrupted, command=command)}")
        if report.plot is not None:
            on_terminal = report.output in (None, "table", "md")
            write_plot(app, report.plot, rows, to_error=not on_terminal)
    except LlamacliError as error:
        app.console.warn(str(error))


def store_run(
    rows: Sequence[Row],
    groups: Sequence[Group],
    build: NativeBuild,
    *,
    interrupted: bool = False,
    command: Sequence[str] = ("bench",),
) -> int:
    """Store rows as one run, with their provenance, command and options; return its number.

    Raises:
        LlamacliError: if the history cannot be written.
    """
    origin = describe_origin(build, (row["model_filename"] for row in rows), version=VERSION)
    options = {name: _plain(value) for group in groups for name, value in dataclasses.asdict(group).items()}
    with closing(History()) as history:
        return history.save(
            [NewRow(subject_of(row), row) for row in rows],
            origin=origin,
            command=command_line(groups, command),
            options=options,
            interrupted=interrupted,
        )


def command_line(groups: Sequence[Group], command: Sequence[str] = ("bench",)) -> str:
    """Return an equivalent command line: the command, and options that differ from their defaults, by their long names."""
    return shlex.join(["llamacli", *command, *(word for group in groups for word in _words(group))])


def _words(group: Group) -> Iterator[str]:
    hints = typing.get_type_hints(type(group), include_extras=True)
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if value == field.default:
            continue
        declared = typing.get_args(hints[field.name])[1]
        name = next(name for name in declared.names if name.startswith("--"))
        if value is True:
            yield name
        else:
            for given in value if isinstance(value, tuple) else (value,):
                yield from (name, _text(given, ","))


def _plain(value: Any) -> Any:
    """Return a value that JSON has."""
    return str(value) if isinstance(value, Path) else value


def _text(value: Any, separator: str) -> str:
    """Return a list with commas and nested lists with slashes, as llama-bench writes devices."""
    if isinstance(value, tuple):
        return separator.join(_text(item, "/") for item in value)
    if isinstance(value, LoraAdapter):
        return f"{value.path}:{value.scale:g}"
    return str(int(value)) if isinstance(value, bool) else str(value)
