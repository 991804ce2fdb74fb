"""The report of a benchmark: rows on standard output and standard error, and progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from llamacli.bench.measure.events import StageStarted
from llamacli.bench.measure.rows import Row
from llamacli.cli.bench.options import ReportOptions, RowFormatName
from llamacli.cli.framework.console import Console, Style
from llamacli.render.bench.formats import CsvFormat, JsonFormat, JsonLinesFormat, MarkdownFormat, RowFormat, SqlFormat
from llamacli.render.bench.table import Table, format_warnings
from llamacli.render.progress import NoProgress


class Report:
    """The writer of rows as they come. `planned` are the coming rows as far as known.

    `make_table` returns the table for a stream, True for standard output, in place of the usual one.
    """

    def __init__(
        self,
        console: Console,
        options: ReportOptions,
        planned: Sequence[Row],
        *,
        make_table: Callable[[bool], RowFormat] | None = None,
    ) -> None:
        self._console = console
        output = options.output or ("table" if console.terminals.stdout else "md")
        self._sinks: list[tuple[RowFormat, Callable[[str], None]]] = []
        write = console.write if output == "table" else console.show  # a table's cells are escaped, and may have colours
        for kind, sink, stdout in ((output, write, True), (options.output_err, console.write_error, False)):
            if kind == "none":
                continue
            if kind == "table" and make_table is not None:
                form = make_table(stdout)
            else:
                form = make_format(kind, planned, console, stdout=stdout)
            self._sinks.append((form, sink))
        self._is_table = output in ("table", "md")
        self.rows: list[Row] = []

    def begin(self) -> None:
        """Write the text before the first row."""
        self._write(lambda form: form.begin())

    def add(self, row: Row) -> None:
        """Write one row."""
        self.rows.append(row)
        self._write(lambda form: form.row(row))

    def end(self) -> None:
        """Write the text after the last row, and the warnings of all rows."""
        self._write(lambda form: form.end())
        for warning in format_warnings(self.rows):
            self._console.warn(warning)

    @property
    def is_table(self) -> bool:
        """True if standard output shows the rows to a person."""
        return self._is_table

    def _write(self, text_of: Callable[[RowFormat], str]) -> None:
        for form, write in self._sinks:
            text = text_of(form)
            if text:
                write(text)


def make_format(kind: RowFormatName, planned: Sequence[Row], console: Console, *, stdout: bool = True) -> RowFormat:
    """Return the format of that name. `stdout`: the table goes to standard output, else to standard error."""
    match kind:
        case "table":
            return Table(planned, width=console.width, style=painter(console, stdout=stdout))
        case "md":
            return MarkdownFormat(planned)
        case "csv":
            return CsvFormat()
        case "json":
            return JsonFormat()
        case "jsonl":
            return JsonLinesFormat()
        case "sql":
            return SqlFormat()


def painter(console: Console, *, stdout: bool = True) -> Callable[[str, str], str]:
    """Return a function that gives text a style, if the stream shows colours."""
    return lambda text, style: console.styled(text, cast("Style", style), stdout=stdout)


class ProgressReporter:
    """Progress of a benchmark on standard error: on a redrawn line, or with `--progress` in a line for each step."""

    def __init__(self, console: Console, line: NoProgress, names: Sequence[str], repetitions: int, *, lines: bool) -> None:
        self._console = console
        self._line = line
        self._names = names
        self._total = len(names) * (repetitions + 1)
        self._done = 0
        self._lines = lines
        self._loading = ""

    def step(self, event: StageStarted) -> None:
        """Report the start of a step."""
        of = f" {event.number}/{event.count}" if event.count is not None else f" {event.number}"
        doing = {"load": "load", "warm-up": "warm up", "measure": f"repetition{of}"}[event.stage]
        name = self._names[event.index]
        what = f"{name}: {doing}"
        if self._lines:
            self._console.note(f"test {event.index + 1}/{len(self._names)}, {what}")
            return
        self._loading = name if event.stage == "load" else ""
        self._line.update(f"{event.index + 1}/{len(self._names)} {what}", min(self._done, self._total), self._total)
        self._done += event.stage != "load"

    def loading(self, share: float) -> None:
        """Report the loaded share of a model, from 0 to 1."""
        if not self._lines and self._loading:
            self._line.update(f"{self._loading}: loading the model", share, 1.0)
