"""The choice of a chart for benchmark rows: bars for a grid, lines for a sweep, a panel for each kind of test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llamacli.bench.measure.rows import Row
from llamacli.render.bench.formats import SHORT_NAMES, format_value, shown_settings

_SWEPT = {
    "n_depth": "tokens in the context", "n_threads": "threads", "n_parallel": "parallel sequences",
    "n_batch": "tokens in a batch", "n_ubatch": "tokens in a micro-batch", "n_gpu_layers": "layers on the GPU",
    "n_prompt": "tokens of the prompt", "n_gen": "tokens generated",
}  # fmt: skip
"""Columns that can be an axis, with its label; of several with equally many values the first is used."""

_LEAST_STEPS = 3
"""The least number of values of a swept column; fewer are drawn as bars."""

_FLASH = {-1: "auto", 0: "off", 1: "on"}


@dataclass(frozen=True, slots=True)
class Point:
    """A measured speed in tokens per second, with its interval if known. `x` is the value of the swept column."""

    x: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Series:
    """A line, or a bar with one point."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart with its own scale. `axis` names what is swept; None: bars."""

    title: str
    axis: str | None
    series: tuple[Series, ...]

    @property
    def top(self) -> float:
        """The largest value or bound."""
        return max((point.high or point.value for one in self.series for point in one.points), default=0.0)


@dataclass(frozen=True, slots=True)
class Chart:
    """All panels, with a title, the machine as subtitle, and the names of failed tests, which are not drawn."""

    title: str
    subtitle: str
    panels: tuple[Panel, ...]
    failed: tuple[str, ...]


def make_chart(rows: Sequence[Row]) -> Chart:
    """Return the chart for rows with llama-bench's columns and our own."""
    drawn = [row for row in rows if row["median_ts"]]
    failed = [str(row["test"]) for row in rows if not row["median_ts"]]
    kinds = list(dict.fromkeys(map(_kind, drawn)))
    panels = [_panel(kind, [row for row in drawn if _kind(row) == kind]) for kind in kinds]
    title = ", ".join(dict.fromkeys(_model(row) for row in rows))
    about = (", ".join(filter(None, (row["cpu_info"], row["gpu_info"], f"llama.cpp {row['build_commit']}"))) for row in rows)
    return Chart(title, "; ".join(dict.fromkeys(about)), tuple(panels), tuple(dict.fromkeys(failed)))


def row_names(rows: Sequence[Row]) -> list[str]:
    """Return a name for each row: its test and the settings that vary, such as `pp512, threads 2`."""
    return list(map(_namer(rows, None), rows))


def _panel(kind: str, rows: list[Row]) -> Panel:
    axis = _swept(rows)
    if axis is not None:
        name = _namer(rows, axis)
        groups: dict[str, list[Point]] = {}
        for row in rows:
            groups.setdefault(name(row), []).append(_point(row, float(row[axis])))
        lines = [Series(name, tuple(sorted(points, key=lambda point: point.x))) for name, points in groups.items()]
        return Panel(kind, _SWEPT[axis], tuple(lines))
    name = _namer(rows, None)
    return Panel(kind, None, tuple(Series(name(row), (_point(row, 0.0),)) for row in rows))


def _swept(rows: Sequence[Row]) -> str | None:
    """Return the column for the axis: with the most values, if every line has at least two distinct points; else None."""
    found: str | None = None
    most = _LEAST_STEPS - 1
    for column in _SWEPT:
        steps = len({row[column] for row in rows})
        if steps <= most:
            continue
        name = _namer(rows, column)
        lines: dict[str, list[object]] = {}
        for row in rows:
            lines.setdefault(name(row), []).append(row[column])
        if all(len(set(values)) == len(values) > 1 for values in lines.values()):
            found, most = column, steps
    return found


def _namer(rows: Sequence[Row], axis: str | None) -> Callable[[Row], str]:
    """Return a function that names a row by its test and the varying settings, without the axis."""
    settings = [name for name in shown_settings(rows) if name != axis and len({row[name] for row in rows}) > 1]
    several = len({_model(row) for row in rows}) > 1

    def name(row: Row) -> str:
        parts = [_model(row)] if several else []
        parts.append(str(row["test"]) if axis is None else _test_without(row, axis))
        parts += [f"{SHORT_NAMES.get(setting, setting)} {_setting(row, setting)}" for setting in settings]
        return ", ".join(filter(None, parts))

    return name


def _test_without(row: Row, axis: str) -> str:
    """Return the name of a test without the axis: `pp512 @ d4096` without its depth is `pp512`."""
    parts = [row["image"]] if row["image"] else []
    parts += [f"{mark}{'' if axis == name else row[name]}" for mark, name in (("pp", "n_prompt"), ("tg", "n_gen")) if row[name]]
    text = "+".join(parts)
    if row["n_parallel"] > 1 and axis != "n_parallel":
        text += f" x{row['n_parallel']}"
    return f"{text} @ d{row['n_depth']}" if row["n_depth"] and axis != "n_depth" else text


def _kind(row: Row) -> str:
    """Return the kind of a test: tests of one kind share a scale."""
    names = {
        "latency": "latency: prompt and generation", "end-to-end": "end to end", "image": "end to end, with a picture",
        "quality": "evaluation of text",
    }  # fmt: skip
    if row["workload"] in names:
        return names[row["workload"]]
    if not row["n_gen"]:
        return "prompt processing"
    return "prompt and generation" if row["n_prompt"] else "generation"


def _point(row: Row, x: float) -> Point:
    return Point(x, row["median_ts"], row["low_ts"], row["high_ts"])


def _setting(row: Row, name: str) -> str:
    return _FLASH[row[name]] if name == "flash_attn" else format_value(name, row[name]) or ""


def _model(row: Row) -> str:
    return str(row["model_type"] or row["model_filename"].rpartition("/")[2])
