"""The report of `bench quality`: progress with the estimate so far, the rows, and what is stored and drawn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llamacli.bench.quality.params import QualityEvent, WindowScored
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
from llamacli.render.progress import NoProgress

if TYPE_CHECKING:
    from llamacli.bench.measure.rows import Row
    from llamacli.bench.quality.result import Collector
    from llamacli.bench.quality.rows import Measured
    from llamacli.cli.bench.options import ReportOptions
    from llamacli.cli.bench.save import Group
    from llamacli.engine.system import NativeBuild


_ESTIMATE_SECONDS = 0.5


class QualityProgress:
    """Progress on standard error: on a redrawn line, or with `lines` in a line for each window."""

    def __init__(self, console: Console, line: NoProgress, collector: Collector, candidates: int, *, lines: bool) -> None:
        self._console, self._line, self._collector = console, line, collector
        self._candidates, self._lines = candidates, lines
        self._done = 0
        self._running, self._next = "", 0.0

    def loading(self, share: float) -> None:
        """Report the loaded share of a model, from 0 to 1."""
        if not self._lines:
            self._line.update("loading", share, 1.0)

    def step(self, event: QualityEvent) -> None:
        """Report the scores of a window, with the estimate so far."""
        if not isinstance(event, WindowScored) or self._collector.text is None:
            return
        self._done += 1
        windows = self._collector.text.windows
        running = self._estimate(event.candidate)
        if not self._lines:
            self._line.update(running, self._done, windows * self._candidates, at_once=event.window == 0)
        else:
            which = f"{event.candidate + 1}/{self._candidates}, " if self._candidates > 1 else ""
            self._console.note(f"{which}window {event.window + 1}/{windows}: {running}")

    def _estimate(self, candidate: int) -> str:
        """Return the estimate so far in words; on a redrawn line that of up to half a second ago, as it takes time."""
        from llamacli.render.bench.quality import format_running

        now = time.monotonic()
        if self._lines or now >= self._next:
            self._running, self._next = format_running(self._collector.estimate(candidate)), now + _ESTIMATE_SECONDS
        return self._running


def write_report(
    app: AppContext,
    measured: Measured,
    report: ReportOptions,
    build: NativeBuild,
    options: Sequence[Group],
    *,
    interrupted: bool,
) -> None:
    """Write the rows of the results so far, store and draw them."""
    from llamacli.bench.measure.provenance import machine_of
    from llamacli.bench.quality.text import SHIPPED_NAME

    text = measured.material.text
    files = [] if text == SHIPPED_NAME else text.split(", ")
    write_rows(app, measured.rows(machine_of(build)), report, build, options, files=files, interrupted=interrupted)


def write_rows(
    app: AppContext,
    rows: Sequence[Row],
    report: ReportOptions,
    build: NativeBuild,
    options: Sequence[Group],
    *,
    files: Sequence[str] = (),
    interrupted: bool,
) -> None:
    """Write rows of quality, store and draw them. `files` are the texts that were named."""
    from llamacli.cli.bench.report import Report, painter
    from llamacli.cli.bench.save import finish
    from llamacli.render.bench.quality import format_details

    written = Report(app.console, report, rows)
    written.begin()
    for row in rows:
        written.add(row)
    written.end()
    if written.is_table:
        app.console.write(format_details(rows, width=app.console.width, paint=painter(app.console)))
    finish(app, report, options, rows, build, interrupted=interrupted, command=("bench", "quality", *files))
