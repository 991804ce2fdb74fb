"""Benchmark rows as a table, written incrementally: the median with its interval, and the cost of the test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from llamacli.bench.measure.params import TIMED
from llamacli.bench.measure.rows import Row
from llamacli.render.bench.formats import SHORT_NAMES, format_parameters, format_value, quality_columns, shown_settings
from llamacli.render.text import columns, escape_line
from llamacli.render.wrap import shorten, wrap
from llamacli.units import counted, format_bytes

StyleName = Literal["bold", "red"]

Style = Callable[[str, StyleName], str]
"""A function that returns text in a style, if colours are allowed."""

_GAP = "  "
_LONGEST_MODEL = 30
_ESSENTIAL = 1
"""The highest `drop_order` of columns that are left out only after settings have become lines."""

_NARROW = 24
_FLASH = {-1: "auto", 0: "off", 1: "on"}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its title, the text of a row, its width, and how soon it is left out for lack of room (0: never)."""

    title: str
    text: Callable[[Row], str]
    width: int
    drop_order: float = 0
    left: bool = False
    style: StyleName | None = None


class Table:
    """The rows as a table of at most `width` characters. `planned` are the coming rows as far as known.

    Columns that do not fit are left out, the least important first; settings that do not fit become separate lines.
    """

    def __init__(self, planned: Sequence[Row], *, width: int, style: Style = lambda text, _: text) -> None:
        self._width = width
        self._style = style
        self._settings = [name for name in shown_settings(planned) if len({row[name] for row in planned}) > 1]
        self._constant = [name for name in shown_settings(planned) if name not in self._settings]
        self._names = list(dict.fromkeys(row["model_filename"] for row in planned))
        leading = [_setting_column(name, planned) for name in self._settings]
        if len(self._names) > 1:
            leading.insert(0, _model_column(self._names))
        self._columns, self._headed = _fitting(leading, _figures(planned), width)
        self._started = False
        self._heading = ""

    def begin(self) -> str:
        """Return the empty string: the heading comes with the first row."""
        return ""

    def row(self, row: Row) -> str:
        """Return a row, the first one with the heading."""
        lines = [] if self._started else self._title(row)
        self._started = True
        if self._headed:
            heading = _GAP.join(f"{column.title} {column.text(row)}" for column in self._headed)
            if heading != self._heading:
                lines += wrap(heading, self._width, rest="  ")
                self._heading = heading
        lines.append(self._failure(row) if row["error"] and not row["repetitions"] else self._line(row))
        if row["error"] and row["repetitions"]:
            text = f"failed after {row['repetitions']}: {escape_line(row['error'])}"
            lines += [self._style(line, "red") for line in wrap(text, self._width, first="  ", rest=" " * 4)]
        return "\n".join(lines) + "\n"

    def end(self) -> str:
        """Return the empty string."""
        return ""

    def _title(self, row: Row) -> list[str]:
        about = [*([_model_line(row)] if len(self._names) == 1 else []), self._machine_line(row)]
        lines = [line for text in about for line in wrap(text, self._width, rest="  ")]
        cells = (_aligned(column.title, column) for column in self._columns)
        return [*lines, "", self._style(_GAP.join(cells).rstrip(), "bold")]

    def _machine_line(self, row: Row) -> str:
        parts = [row["cpu_info"], row["gpu_info"], row["backends"]]
        parts += [_constant_text(row, name) for name in self._constant]
        parts.append(f"llama.cpp {row['build_commit']}")
        return escape_line(", ".join(part for part in dict.fromkeys(parts) if part))

    def _line(self, row: Row) -> str:
        cells = []
        for column in self._columns:
            text = _aligned(column.text(row), column)
            cells.append(self._style(text, column.style) if column.style else text)
        return _GAP.join(cells).rstrip()

    def _failure(self, row: Row) -> str:
        cells = [_aligned(column.text(row), column) for column in self._columns if column.left]
        start = _GAP.join([*cells, "failed: "])
        indent = " " * (columns(start) if self._width - columns(start) >= _NARROW else 2)
        wrapped = wrap(escape_line(row["error"]), self._width, first=start, rest=indent)
        return "\n".join(self._style(line, "red") for line in wrapped)


def format_warnings(rows: Iterable[Row]) -> list[str]:
    """Return the warnings of rows, each kind once, with its tests."""
    kinds: dict[str, tuple[str, list[str]]] = {}
    for row in rows:
        for warning in (row["warnings"] or "").split("; "):
            if warning:
                kinds.setdefault(re.sub(r"[\d.]+", "#", warning), (warning, []))[1].append(row["test"])
    return [f"{', '.join(dict.fromkeys(tests))}: {warning}" for warning, tests in kinds.values()]


def _figures(planned: Sequence[Row]) -> list[_Column]:
    """Return the columns of the test and its figures."""
    test = max((len(row["test"]) for row in planned), default=0)
    columns = [_Column("test", lambda row: str(row["test"]), max(4, test), left=True)]
    workloads = {row["workload"] for row in planned}
    if workloads == {"quality"}:
        return [*columns, *_quality_columns(planned)]
    if latency := bool(workloads & set(TIMED)):
        columns += _latency_columns(has_images="image" in workloads)
    columns += [
        _Column("tokens/s", lambda row: _speed(row["median_ts"]), 9, 1 if latency else 0, style=None if latency else "bold"),
        _Column("95 % interval", _interval, 19, 3 if latency else 1),
        _Column("mean ± deviation", _mean, 18, 4),
        _Column("memory", lambda row: _size(row["peak_memory"]), 9, 2),
    ]
    if any(row["gpu_info"] for row in planned):
        columns.append(_Column("on GPU", lambda row: _size(row["device_memory"]), 9, 2))
    columns.append(_Column("load", lambda row: _seconds(row["load_ms"]), 7, 3 if not latency else 5))
    if any(row["energy_source"] for row in planned):
        columns.append(_Column("energy", lambda row: "" if row["energy_j"] is None else f"{row['energy_j']:.1f} J", 9, 4))
    return columns


def _latency_columns(*, has_images: bool) -> Iterator[_Column]:
    """Yield the columns of tests that time each token, and of pictures."""
    if has_images:
        yield _Column("image tokens", lambda row: "" if row["image_tokens"] is None else f"{row['image_tokens']:,}", 12, 0.7)
        yield _Column("encode", lambda row: _duration(row["encode_ms"]), 9, 0.3, style="bold")
    yield _Column("first token", lambda row: _duration(row["ttft_ms"]), 11, style="bold")
    yield _Column("p50", lambda row: _duration(row["itl_p50_ms"]), 8, 0.4, style="bold")
    yield _Column("p90", lambda row: _duration(row["itl_p90_ms"]), 8, 0.6)
    yield _Column("p99", lambda row: _duration(row["itl_p99_ms"]), 8, 0.6)
    yield _Column("max", lambda row: _duration(row["itl_max_ms"]), 8, 0.5)


def _quality_columns(planned: Sequence[Row]) -> Iterator[_Column]:
    """Yield the columns of the quality workload: figures that any row has, and the speed of the evaluation."""
    known = quality_columns(planned)
    if "perplexity" in known:
        yield _Column("perplexity", lambda row: _estimate(row, "perplexity", "{:.3f}"), 10, style="bold")
        yield _Column("95 % interval", lambda row: _bounds(row, "perplexity", "{:.3f}"), 19, 1)
    if "kld" in known:
        yield _Column("KL div.", lambda row: _estimate(row, "kld", "{:.5f}"), 8, style="bold")
        yield _Column("95 % interval", lambda row: _bounds(row, "kld", "{:.5f}"), 19, 3)
        yield _Column("same top", lambda row: _estimate(row, "same_top", "{:.2%}"), 8, 2)
    if "accuracy" in known:
        yield _Column("right", lambda row: _estimate(row, "accuracy", "{:.1%}"), 6, style="bold")
        yield _Column("95 % interval", lambda row: _bounds(row, "accuracy", "{:.1%}"), 15, 1)
    if "accuracy_norm" in known:
        yield _Column("normalised", lambda row: _estimate(row, "accuracy_norm", "{:.1%}"), 10, 2)
        yield _Column("95 % interval", lambda row: _bounds(row, "accuracy_norm", "{:.1%}"), 15, 3)
    yield _Column("tokens/s", lambda row: _speed(row["median_ts"]), 9, 2)
    yield _Column("95 % interval", _interval, 19, 4)


def _estimate(row: Row, name: str, pattern: str) -> str:
    return "" if row[name] is None else pattern.format(row[name])


def _bounds(row: Row, name: str, pattern: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None or high is None else f"{pattern.format(low)} – {pattern.format(high)}"


def _fitting(leading: list[_Column], figures: list[_Column], width: int) -> tuple[list[_Column], list[_Column]]:
    """Return the columns that fit, and those of `leading` that must become separate lines."""
    columns = [*leading, *figures]
    while _total(columns) > width:
        drop_order = max(column.drop_order for column in columns)
        if drop_order <= (_ESSENTIAL if leading else 0):
            break
        columns = [column for column in columns if column.drop_order != drop_order]
    if _total(columns) > width and leading:
        return _fitting([], figures, width)[0], leading
    return columns, []


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _setting_column(name: str, planned: Sequence[Row]) -> _Column:
    title = SHORT_NAMES.get(name, name)
    width = max(len(title), *(len(_setting(row, name)) for row in planned))
    return _Column(title, lambda row: _setting(row, name), width, left=True)


def _model_column(names: Sequence[str]) -> _Column:
    shown = {name: shorten(escape_line(name.rpartition("/")[2].removesuffix(".gguf")), _LONGEST_MODEL) for name in names}
    return _Column("model", lambda row: shown[row["model_filename"]], max(map(len, shown.values())), left=True)


def _setting(row: Row, name: str) -> str:
    if name == "flash_attn":
        return _FLASH[row[name]]
    return escape_line(format_value(name, row[name]) or "")


def _constant_text(row: Row, name: str) -> str:
    if name == "n_threads":
        return counted(row[name], "thread")
    return f"{SHORT_NAMES.get(name, name)} {_setting(row, name)}"


def _model_line(row: Row) -> str:
    name = escape_line(row["model_filename"].rpartition("/")[2])
    if not row["model_type"]:
        return name
    kind = escape_line(row["model_type"])
    return f"{name}: {kind}, {format_bytes(row['model_size'])}, {format_parameters(row['model_n_params'])} parameters"


def _aligned(text: str, column: _Column) -> str:
    return text.ljust(column.width) if column.left else text.rjust(column.width)


def _speed(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _interval(row: Row) -> str:
    return "" if row["low_ts"] is None else f"{row['low_ts']:.2f} – {row['high_ts']:.2f}"


def _mean(row: Row) -> str:
    return f"{row['avg_ts']:.2f} ± {row['stddev_ts']:.2f}"


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    if milliseconds >= 10_000:
        return f"{milliseconds / 1e3:.1f} s"
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.1f} ms"


def _seconds(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds / 1e3:.2f} s"


def _size(size: int | None) -> str:
    return "" if size is None else format_bytes(size)
