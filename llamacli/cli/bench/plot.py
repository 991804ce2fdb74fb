"""`--plot`: a chart of the rows in a file, or as bars in the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from llamacli.bench.measure.rows import Row
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.parameters import option
from llamacli.errors import LlamacliError, UsageError

TERMINAL = "-"
_KINDS = (".svg", ".png")


def parse_plot(text: str) -> str:
    """`-`, or the name of an SVG or PNG file."""
    if text != TERMINAL and Path(text).suffix.lower() not in _KINDS:
        raise ValueError(f"a chart is an .svg or .png file, or - for bars in the terminal: {text}")
    return text


PlotOption = Annotated[
    str | None,
    option(
        "--plot", metavar="FILE", parser=parse_plot, environment=False,
        help="Draw a chart: an .svg or .png file, or - for bars in the terminal.",
    ),
]  # fmt: skip


def check_plot(plot: str | None) -> None:
    """Finds out before anything is measured whether a chart could be written afterwards.

    Raises:
        UsageError: it could not.
    """
    if plot is None or plot == TERMINAL:
        return
    path = Path(plot)
    if path.suffix.lower() == ".png":
        from llamacli.render.bench.canvas import require_png

        require_png()
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for the chart")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written")


def write_plot(app: AppContext, plot: str, rows: Sequence[Row], *, to_error: bool = False) -> None:
    """Draws the rows: bars on standard output (or standard error), else the file.

    Raises:
        UsageError: Pillow is missing. LlamacliError: the file cannot be written.
    """
    from llamacli.render.bench.chart import make_chart

    chart = make_chart(rows)
    if plot == TERMINAL:
        from llamacli.render.bench.bars import format_bars

        text = format_bars(chart, width=app.console.width)
        (app.console.write_error if to_error else app.console.write)("\n" + text)
        return
    from llamacli.render.bench.plot import draw_chart

    path = Path(plot)
    data = draw_chart(chart, path.suffix.lower().removeprefix("."))
    try:
        path.write_bytes(data)
    except OSError as error:
        raise LlamacliError(f"cannot write {path}: {error.strerror or error}") from error
    app.console.note(f"the chart is in {path}")
