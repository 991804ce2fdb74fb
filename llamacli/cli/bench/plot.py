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
    """Parse `-` or the name of an SVG or PNG file. Raises ValueError for other names."""
    if text != TERMINAL and Path(text).suffix.lower() not in _KINDS:
        raise ValueError(f"{text!r} is not an .svg or .png file, nor - for bars in the terminal")
    return text


PlotOption = Annotated[
    str | None,
    option(
        "--plot", metavar="FILE", parser=parse_plot, environment=False,
        help="Draw a chart into an .svg or .png file, or as bars in the terminal (-).",
    ),
]  # fmt: skip


def check_plot(plot: str | None) -> None:
    """Check before the measurement that the chart can be written afterwards.

    Raises:
        UsageError: if it cannot.
    """
    if plot is None or plot == TERMINAL:
        return
    path = Path(plot)
    if path.suffix.lower() == ".png":
        from llamacli.render.bench.canvas import require_png

        require_png()
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: folder {path.parent} does not exist")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: permission denied, or it is a folder")


def write_plot(app: AppContext, plot: str, rows: Sequence[Row], *, to_error: bool = False) -> None:
    """Draw the rows as bars on standard output (or standard error), or into the file.

    Raises:
        UsageError: if Pillow is missing; LlamacliError: if the file cannot be written.
    """
    from llamacli.render.bench.pareto import is_about_quality

    draw = _draw_quality if is_about_quality(rows) else _draw_speeds
    if plot == TERMINAL:
        text = draw(rows, None, app.console.width).decode()
        (app.console.write_error if to_error else app.console.write)("\n" + text)
        return
    path = Path(plot)
    data = draw(rows, path.suffix.lower().removeprefix("."), app.console.width)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise LlamacliError(f"cannot write {path}: {error.strerror or error}") from error
    app.console.note(f"wrote the chart to {path}")


def _draw_speeds(rows: Sequence[Row], kind: str | None, width: int) -> bytes:
    """Return the chart of speeds as a file of that kind, or as bars of at most `width` characters."""
    from llamacli.render.bench.bars import format_bars
    from llamacli.render.bench.chart import make_chart
    from llamacli.render.bench.plot import draw_chart

    chart = make_chart(rows)
    return format_bars(chart, width=width).encode() if kind is None else draw_chart(chart, kind)


def _draw_quality(rows: Sequence[Row], kind: str | None, width: int) -> bytes:
    """Return the chart of speed against quality as a file of that kind, or as a list of at most `width` characters."""
    from llamacli.render.bench.pareto import draw_quality, format_quality_points, make_quality_chart

    chart = make_quality_chart(rows)
    return format_quality_points(chart, width=width).encode() if kind is None else draw_quality(chart, kind)
