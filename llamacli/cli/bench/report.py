"""Where a benchmark's rows go: to standard output in one format, to standard error in another. And how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llamacli.bench.measure.params import Working
from llamacli.bench.measure.rows import Row
from llamacli.cli.bench.options import OutputFormat, ReportOptions
from llamacli.cli.framework.console import Console
from llamacli.render.bench.formats import Csv, Form, Json, JsonLines, Markdown, Sql
from llamacli.render.bench.table import Table, format_warnings
from llamacli.render.progress import NoProgress


class Report:
    """Writes rows as they come. `planned` are the rows to come, as far as they are known before."""

    def __init__(self, console: Console, options: ReportOptions, planned: Sequence[Row]) -> None:
        self._console = console
        output = options.output or ("table" if console.terminals.stdout else "md")
        self._sinks: list[tuple[Form, Callable[[str], None]]] = []
        write = console.write if output == "table" else console.show  # a table's cells are harmless, and may have colours
        for kind, sink, stdout in ((output, write, True), (options.output_err, console.write_error, False)):
            form = make_form(kind, planned, console, stdout=stdout)
            if form is not None:
                self._sinks.append((form, sink))
        self.rows: list[Row] = []

    def begin(self) -> None:
        """What stands before the first row."""
        self._write(lambda form: form.begin())

    def add(self, row: Row) -> None:
        """One row."""
        self.rows.append(row)
        self._write(lambda form: form.row(row))

    def end(self) -> None:
        """What stands after the last row, and what the rows warn of."""
        self._write(lambda form: form.end())
        for warning in format_warnings(self.rows):
            self._console.warn(warning)

    def _write(self, text_of: Callable[[Form], str]) -> None:
        for form, write in self._sinks:
            text = text_of(form)
            if text:
                write(text)


def make_form(kind: OutputFormat, planned: Sequence[Row], console: Console, *, stdout: bool = True) -> Form | None:
    """The format of that name; None for none. `stdout` tells which stream's colours count."""
    if kind == "table":
        return Table(planned, width=console.width, style=lambda text, style: console.styled(text, style, stdout=stdout))
    if kind == "md":
        return Markdown(planned)
    plain: dict[str, Callable[[], Form]] = {"csv": Csv, "json": Json, "jsonl": JsonLines, "sql": Sql}
    return plain[kind]() if kind in plain else None


class Steps:
    """Tells on standard error how far a benchmark is: on a redrawn line, or with `--progress` in a line for each step."""

    def __init__(self, console: Console, line: NoProgress, tests: int, repetitions: int, *, lines: bool) -> None:
        self._console = console
        self._line = line
        self._tests = tests
        self._total = tests * (repetitions + 1)
        self._done = 0
        self._lines = lines
        self._loading = ""

    def step(self, event: Working) -> None:
        """A step begins."""
        of = f" {event.number}/{event.count}" if event.count is not None else f" {event.number}"
        doing = {"load": "load", "warm-up": "warm up", "measure": f"repetition{of}"}[event.stage]
        what = f"{event.test.name}: {doing}"
        if self._lines:
            self._console.note(f"test {event.index + 1}/{self._tests}, {what}")
            return
        self._loading = event.test.name if event.stage == "load" else ""
        self._line.update(f"{event.index + 1}/{self._tests} {what}", min(self._done, self._total), self._total)
        self._done += event.stage != "load"

    def loading(self, share: float) -> None:
        """So much of a model is loaded."""
        if not self._lines and self._loading:
            self._line.update("loading the model", share, 1.0)
