"""Speed against quality: every result as a point with both intervals, and the Pareto front marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llamacli.bench.measure.rows import Row
from llamacli.render.bench.canvas import TEXT_WIDTH, Canvas, PngCanvas, SvgCanvas
from llamacli.render.bench.chart import Chart, make_chart, row_names
from llamacli.render.columns import format_columns
from llamacli.render.text import escape_line

_WIDTH, _HEIGHT = 860, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 96, 40, 104, 84
_INK, _FAINT, _GRID, _FRONT, _OTHER = "#222", "#666", "#ddd", "#0072b2", "#999999"
_STEPS = 5
_MARGIN = 0.08
"""The part of the range that is left free on each side."""

_FIGURES = (("kld", "KL divergence, nats"), ("perplexity", "perplexity"), ("accuracy", "share of wrong answers"))
_FOOT = "Points with their 95 % intervals; blue: nothing is both faster and better (the Pareto front)."


@dataclass(frozen=True, slots=True)
class QualityPoint:
    """A result: its speed in tokens per second and its loss, each with the bounds of its interval."""

    name: str
    speed: tuple[float, float, float]
    loss: tuple[float, float, float]
    on_front: bool = False


@dataclass(frozen=True, slots=True)
class QualityChart:
    """All points, the fastest last, what the loss is, and the title, subtitle and failed tests of the chart of speeds."""

    figure: str
    points: tuple[QualityPoint, ...]
    about: Chart


def is_about_quality(rows: Sequence[Row]) -> bool:
    """Return whether all rows judge quality."""
    return all(row["workload"] == "quality" for row in rows)


def make_quality_chart(rows: Sequence[Row]) -> QualityChart:
    """Return the chart of rows of quality. The loss is the first of KL divergence, perplexity and errors that all have."""
    drawn = [row for row in rows if row["median_ts"] and row.get("quality")]
    column, figure = next((one for one in _FIGURES if all(row[one[0]] is not None for row in drawn)), _FIGURES[-1])
    names = row_names(rows)
    points = [
        QualityPoint(name, _bounded(row, "{}_ts", ("median", "low", "high")), _loss(row, column))
        for row, name in zip(rows, names, strict=True)
        if row in drawn and row[column] is not None
    ]
    front = {one.name for one in points if not any(_dominates(other, one) for other in points)}
    marked = (QualityPoint(one.name, one.speed, one.loss, one.name in front) for one in points)
    return QualityChart(figure, tuple(sorted(marked, key=lambda one: one.speed[0])), make_chart(rows))


def _dominates(one: QualityPoint, other: QualityPoint) -> bool:
    """Return whether a result is at least as fast and as good as another, and one of both more so."""
    as_good = one.speed[0] >= other.speed[0] and one.loss[0] <= other.loss[0]
    return as_good and (one.speed[0], one.loss[0]) != (other.speed[0], other.loss[0])


def _loss(row: Row, column: str) -> tuple[float, float, float]:
    value, low, high = _bounded(row, f"{column}{{}}", ("", "_low", "_high"))
    return (1 - value, 1 - high, 1 - low) if column == "accuracy" else (value, low, high)


def _bounded(row: Row, pattern: str, parts: tuple[str, str, str]) -> tuple[float, float, float]:
    value, low, high = (row[pattern.format(part)] for part in parts)
    return value, value if low is None else low, value if high is None else high


def format_quality_points(chart: QualityChart, *, width: int) -> str:
    """Return a line for each point, the fastest first; a star marks the Pareto front."""
    if not chart.points:
        return "Nothing to draw.\n"
    rows = [("", "", "tokens/s", chart.figure)]
    rows += [
        ("*" if one.on_front else "", escape_line(one.name), f"{one.speed[0]:.2f}", f"{one.loss[0]:.5g}")
        for one in reversed(chart.points)
    ]
    return format_columns(rows, right=(2, 3), width=width, names=2) + "* nothing is both faster and better\n"


def draw_quality(chart: QualityChart, kind: str) -> bytes:
    """Return the file of a chart; `kind` is svg or png.

    Raises:
        UsageError: for png, if Pillow is not installed.
    """
    canvas: Canvas = (SvgCanvas if kind == "svg" else PngCanvas)(_WIDTH, _HEIGHT, chart.about.title)
    canvas.text((24, 32), _cut(chart.about.title, 18), size=18, bold=True, color=_INK)
    canvas.text((24, 56), _cut(chart.about.subtitle, 13), size=13, color=_FAINT)
    if chart.points:
        _draw_points(canvas, chart)
    canvas.text((24, _HEIGHT - 34), _FOOT, size=12, color=_FAINT)
    if chart.about.failed:
        canvas.text((24, _HEIGHT - 14), _cut(f"failed: {', '.join(chart.about.failed)}", 12), size=12, color="#b00020")
    return canvas.finish()


def _draw_points(canvas: Canvas, chart: QualityChart) -> None:
    across = _scale([value for one in chart.points for value in one.speed], _LEFT, _WIDTH - _RIGHT)
    up = _scale([value for one in chart.points for value in one.loss], _HEIGHT - _BOTTOM, _TOP)
    for value in across.steps:
        x = across.at(value)
        canvas.line((x, _TOP), (x, _HEIGHT - _BOTTOM), _GRID)
        canvas.text((x, _HEIGHT - _BOTTOM + 14), f"{value:.4g}", size=12, anchor="middle", color=_FAINT)
    for value in up.steps:
        y = up.at(value)
        canvas.line((_LEFT, y), (_WIDTH - _RIGHT, y), _GRID)
        canvas.text((_LEFT - 8, y), f"{value:.4g}", size=12, anchor="end", color=_FAINT)
    canvas.text(((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - _BOTTOM + 32), "tokens/s", size=13, anchor="middle", color=_FAINT)
    canvas.text((24, _TOP - 16), f"{chart.figure} (less is better)", size=13, color=_FAINT)
    front = [(across.at(one.speed[0]), up.at(one.loss[0])) for one in chart.points if one.on_front]
    for start, end in pairwise(front):
        canvas.line(start, end, _FRONT, 1.5)
    for one in chart.points:
        x, y, color = across.at(one.speed[0]), up.at(one.loss[0]), _FRONT if one.on_front else _OTHER
        canvas.line((across.at(one.speed[1]), y), (across.at(one.speed[2]), y), color, 1.5)
        canvas.line((x, up.at(one.loss[1])), (x, up.at(one.loss[2])), color, 1.5)
        canvas.shape([(x - 5, y), (x, y - 5), (x + 5, y), (x, y + 5)], color)
        is_right = x > _WIDTH * 0.6
        # The front rises to the right: what is right of it and below, or left and above, is free.
        place = (x - 9 if is_right else x + 9, y + 15 if one.on_front and not is_right else y - 11)
        name = _cut(one.name, 12, 50)
        canvas.text(place, name, size=12, anchor="end" if is_right else "start")


@dataclass(frozen=True, slots=True)
class _Scale:
    at: Callable[[float], float]
    steps: tuple[float, ...]


def _scale(values: Sequence[float], start: float, end: float) -> _Scale:
    """Return the scale of an axis that need not begin at zero, and round positions on it."""
    low, high = min(values), max(values)
    free = (high - low or abs(high) or 1.0) * _MARGIN
    low, high = low - free, high + free
    steps = tuple(_round_steps(low, high))
    return _Scale(lambda value: start + (value - low) / (high - low) * (end - start), steps)


def _round_steps(low: float, high: float) -> Iterator[float]:
    power = 10.0 ** int(f"{(high - low) / _STEPS:e}".partition("e")[2])
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= (high - low) / _STEPS)
    number = int(low // step) + 1
    while number * step <= high:
        yield number * step
        number += 1


def _cut(text: str, size: int, most: int = 200) -> str:
    room = min(most, int((_WIDTH - 48) / (size * TEXT_WIDTH)))
    return text if len(text) <= room else f"{text[: room - 1]}…"
