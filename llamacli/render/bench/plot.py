"""The drawing of a chart: panels below each other, with intervals on every bar and point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from llamacli.render.bench.canvas import TEXT_WIDTH, Canvas, PngCanvas, Position, SvgCanvas
from llamacli.render.bench.chart import Chart, Panel, Point, Series

WIDTH = 860
_MARGIN = 24
_BAR, _GAP = 20, 10
_HEADING = 34
_LEGEND = 20
_PLOT_HEIGHT = 260
_AXIS = 46
_INK, _FAINT, _GRID = "#222", "#666", "#ddd"
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#444444")
"""The palette of Okabe and Ito for colour-blind readers; points also differ in shape."""

_LONGEST_LABEL = 46
_FOOT = "Medians with their 95 % intervals; more is better."


def draw_chart(chart: Chart, kind: str) -> bytes:
    """Return the file of a chart; `kind` is svg or png.

    Raises:
        UsageError: for png, if Pillow is not installed.
    """
    height = 2 * _MARGIN + 52 + sum(_height(panel) + _MARGIN for panel in chart.panels) + 20 * (1 + bool(chart.failed))
    canvas: Canvas = (SvgCanvas if kind == "svg" else PngCanvas)(WIDTH, height, chart.title)
    room = WIDTH - 2 * _MARGIN
    canvas.text((_MARGIN, _MARGIN + 8), _cut(chart.title, room, 18), size=18, bold=True, color=_INK)
    canvas.text((_MARGIN, _MARGIN + 32), _cut(chart.subtitle, room, 13), size=13, color=_FAINT)
    top = _MARGIN + 52.0
    for panel in chart.panels:
        (_draw_bars if panel.axis is None else _draw_lines)(canvas, panel, top)
        top += _height(panel) + _MARGIN
    canvas.text((_MARGIN, top + 6), _FOOT, size=12, color=_FAINT)
    if chart.failed:
        canvas.text((_MARGIN, top + 26), _cut(f"failed: {', '.join(chart.failed)}", room, 12), size=12, color="#b00020")
    return canvas.finish()


def _height(panel: Panel) -> float:
    if panel.axis is None:
        return _HEADING + len(panel.series) * (_BAR + _GAP) + 26
    return _HEADING + _LEGEND * len(list(_legend_rows(panel.series))) + _PLOT_HEIGHT + _AXIS


def _draw_bars(canvas: Canvas, panel: Panel, top: float) -> None:
    _head(canvas, panel, top)
    names = [_cut(one.name, _LONGEST_LABEL * 13 * TEXT_WIDTH, 13) for one in panel.series]
    left = _MARGIN + max(_wide(name, 13) for name in names) + 10
    right = WIDTH - _MARGIN - 80.0
    steps = _steps(panel.top, 5)
    at = _scale(0, steps[-1], left, right)
    start, end = top + _HEADING - 6, top + _HEADING + len(panel.series) * (_BAR + _GAP)
    for step in steps:
        canvas.line((at(step), start), (at(step), end), _GRID)
        canvas.text((at(step), end + 12), _figure(step), size=12, anchor="middle", color=_FAINT)
    for number, (name, one) in enumerate(zip(names, panel.series, strict=True)):
        (point,) = one.points
        upper = top + _HEADING + number * (_BAR + _GAP)
        middle = upper + _BAR / 2
        canvas.text((left - 8, middle), name, size=13, anchor="end")
        canvas.box((left, upper), (at(point.value) - left, _BAR), _COLORS[0])
        if point.low is not None and point.high is not None:
            _whisker(canvas, (at(point.low), middle), (at(point.high), middle), _INK)
        canvas.text((WIDTH - _MARGIN, middle), _measured(point.value), size=13, anchor="end")


def _draw_lines(canvas: Canvas, panel: Panel, top: float) -> None:
    _head(canvas, panel, top)
    upper = top + _HEADING + _draw_legend(canvas, panel.series, top + _HEADING)
    lower, right = upper + _PLOT_HEIGHT, WIDTH - _MARGIN - 12.0
    steps = _steps(panel.top, 6)
    left = _MARGIN + max(_wide(_figure(step), 12) for step in steps) + 12
    up = _scale(0, steps[-1], lower, upper)
    for step in steps:
        canvas.line((left, up(step)), (right, up(step)), _GRID)
        canvas.text((left - 8, up(step)), _figure(step), size=12, anchor="end", color=_FAINT)
    positions = sorted({point.x for one in panel.series for point in one.points})
    along = _along(positions, left + 16, right - 16)
    free = -math.inf
    for position in positions:
        canvas.line((along(position), lower), (along(position), lower + 5), _FAINT)
        half = _wide(_figure(position), 12) / 2
        if along(position) - half > free:
            canvas.text((along(position), lower + 15), _figure(position), size=12, anchor="middle", color=_FAINT)
            free = along(position) + half + 6
    canvas.line((left, lower), (right, lower), _FAINT)
    canvas.text(((left + right) / 2, lower + 34), panel.axis or "", size=13, anchor="middle", color=_FAINT)
    for number, one in enumerate(panel.series):
        _draw_series(canvas, one.points, number, along, up)


def _draw_series(
    canvas: Canvas, points: Sequence[Point], number: int, along: Callable[[float], float], up: Callable[[float], float]
) -> None:
    color = _COLORS[number % len(_COLORS)]
    canvas.path([(along(point.x), up(point.value)) for point in points], color, 2)
    for point in points:
        if point.low is not None and point.high is not None:
            _whisker(canvas, (along(point.x), up(point.low)), (along(point.x), up(point.high)), color)
        canvas.shape(_mark((along(point.x), up(point.value)), number), color)


def _head(canvas: Canvas, panel: Panel, top: float) -> None:
    """Draw the panel's title, with the name of a single line."""
    only = f": {panel.series[0].name}" if panel.axis is not None and len(panel.series) == 1 else ""
    title = _cut(f"{panel.title}{only}, tokens/s", WIDTH - 2 * _MARGIN, 15)
    canvas.text((_MARGIN, top + 10), title, size=15, bold=True)


def _draw_legend(canvas: Canvas, series: Sequence[Series], top: float) -> float:
    """Draw names with their marks, in as many rows as needed; return the height."""
    rows = list(_legend_rows(series))
    for row, entries in enumerate(rows):
        x = float(_MARGIN)
        for number, name in entries:
            y, color = top + row * _LEGEND, _COLORS[number % len(_COLORS)]
            canvas.line((x, y), (x + 24, y), color, 2)
            canvas.shape(_mark((x + 12, y), number), color)
            canvas.text((x + 32, y), name, size=13)
            x += _entry(name)
    return _LEGEND * len(rows)


def _legend_rows(series: Sequence[Series]) -> Iterator[list[tuple[int, str]]]:
    """Yield rows of as many numbers and names of lines as fit; none for a single line."""
    if len(series) == 1:
        return
    row: list[tuple[int, str]] = []
    used = 0.0
    for number, one in enumerate(series):
        name = _cut(one.name, WIDTH - 2 * _MARGIN - 60, 13)
        if row and used + _entry(name) > WIDTH - 2 * _MARGIN:
            yield row
            row, used = [], 0.0
        row.append((number, name))
        used += _entry(name)
    if row:
        yield row


def _entry(name: str) -> float:
    return 32 + _wide(name, 13) + 24


def _whisker(canvas: Canvas, start: Position, end: Position, color: str) -> None:
    """Draw a line with a stroke across each end."""
    canvas.line(start, end, color, 1.5)
    for x, y in (start, end):
        if start[0] == end[0]:
            canvas.line((x - 4, y), (x + 4, y), color, 1.5)
        else:
            canvas.line((x, y - 4), (x, y + 4), color, 1.5)


def _mark(position: Position, number: int) -> list[Position]:
    """Return the corners of a mark: a disc, a square, a triangle or a diamond, by its number."""
    corners, turn, size = ((16, 0.0, 4.5), (4, math.pi / 4, 5.5), (3, -math.pi / 2, 6.0), (4, 0.0, 6.0))[number % 4]
    angles = [turn + 2 * math.pi * corner / corners for corner in range(corners)]
    return [(position[0] + size * math.cos(angle), position[1] + size * math.sin(angle)) for angle in angles]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _along(positions: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """Return the scale of the swept column: logarithmic if its range is wide and excludes zero."""
    low, high = positions[0], positions[-1]
    if low > 0 and high / low >= 8:
        scale = _scale(math.log2(low), math.log2(high), start, end)
        return lambda value: scale(math.log2(value))
    return _scale(low, high, start, end)


def _steps(top: float, most: int) -> list[float]:
    """Return round numbers from 0 to beyond `top`, in at most `most` steps."""
    rough = max(top, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def _measured(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _wide(text: str, size: int) -> float:
    return len(text) * size * TEXT_WIDTH


def _cut(text: str, room: float, size: int) -> str:
    most = int(room / (size * TEXT_WIDTH))
    return text if len(text) <= most else f"{text[: most - 1]}…"
