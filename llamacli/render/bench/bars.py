"""Benchmark rows as bars in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.render.bench.chart import Chart, Panel, Point
from llamacli.render.text import escape_line
from llamacli.render.wrap import cut, wrap

_EIGHTHS = " ▏▎▍▌▋▊▉"
_NARROWEST = 8


def format_bars(chart: Chart, *, width: int) -> str:
    """Return a bar for each point, solid up to the lower bound of its interval and shaded up to the upper bound."""
    lines = [line for panel in chart.panels for line in _panel(panel, width)]
    lines += wrap(", ".join(map(escape_line, chart.failed)), width, first="failed: ") if chart.failed else []
    return "\n".join(lines) + "\n" if lines else "Nothing to draw.\n"


def _panel(panel: Panel, width: int) -> Iterator[str]:
    swept = panel.axis is not None
    yield from wrap(f"{panel.title}, tokens/s" + (f" by {panel.axis}" if swept else ""), width, rest="  ")
    bars = [(f"{point.x:,g}" if swept else escape_line(one.name), point) for one in panel.series for point in one.points]
    label = min(max(len(name) for name, _ in bars), max(width // 3, _NARROWEST))
    figure = max(len(f"{point.value:.2f}") for _, point in bars)
    room = max(width - label - figure - 5, _NARROWEST)
    remaining = iter(bars)
    for one in panel.series:
        if swept:
            yield cut(f" {escape_line(one.name)}", width)
        for _ in one.points:
            name, point = next(remaining)
            shown = cut(name, label)
            aligned = shown.rjust(label) if swept else shown.ljust(label)
            yield f"  {aligned} {_bar(point, panel.top, room)} {point.value:{figure}.2f}"
    yield ""


def _bar(point: Point, top: float, room: int) -> str:
    if point.low is None or point.high is None:
        eighths = round(8 * room * point.value / top)
        return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(room)
    solid = round(room * point.low / top)
    return ("█" * solid + "▒" * (round(room * point.high / top) - solid)).ljust(room)
