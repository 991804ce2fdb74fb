"""The figures of a load test, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamacli.bench.measure.rows import Row
from llamacli.render.bench.table import Style
from llamacli.render.columns import format_columns
from llamacli.render.text import escape_line
from llamacli.units import counted


class LoadTable:
    """The figures of each row, a line each; `width` None does not wrap them."""

    def __init__(self, *, width: int | None, style: Style = lambda text, _: text) -> None:
        self._width, self._style = width, style

    def begin(self) -> str:
        """Return the empty string."""
        return ""

    def row(self, row: Row) -> str:
        """Return the figures of a row."""
        return format_load(row, width=self._width, style=self._style)

    def end(self) -> str:
        """Return the empty string."""
        return ""


def format_load(row: Row, *, width: int | None, style: Style = lambda text, _: text) -> str:
    """Return a heading with the test and its figures, a line each, and an empty line."""
    heading = style(escape_line(row["test"]), "bold")
    load: Mapping[str, Any] | None = row.get("load")
    if load is None:
        return f"{heading}\n{format_columns([('failed', escape_line(row['error']))], width=width)}\n"
    rows = [
        ("model", escape_line(row["model_filename"])),
        ("requests", _requests(load)),
        ("tokens/s", _tokens(row, load)),
        ("first token", _times(load["ttft_ms"])),
        ("between tokens", _times(load["itl_ms"])),
        ("whole answer", _times(load["latency_ms"])),
    ]
    if load["goodput"] is not None:
        rows.append(("goodput", f"{load['goodput']:.2f} requests/s, {load['goodput_share']:.1%} of all"))
    return f"{heading}\n{format_columns(rows, width=width)}\n"


def _requests(load: Mapping[str, Any]) -> str:
    parts = [f"{load['requests']:,} in {load['seconds']:.1f} s, {load['requests_per_second']:.2f} answered a second"]
    failed = sum(load["errors"].values())
    if failed:
        kinds = ", ".join(f"{escape_line(kind)} ({count:,})" for kind, count in load["errors"].items())
        parts.append(f"{counted(failed, 'request')} failed: {kinds}")
    return "; ".join(parts)


def _tokens(row: Row, load: Mapping[str, Any]) -> str:
    interval = f" (95 %: {row['low_ts']:.1f} to {row['high_ts']:.1f})" if row["low_ts"] is not None else ""
    cached = f", {load['cached_tokens']:,} of them cached" if load["cached_tokens"] else ""
    return f"{row['avg_ts']:.1f} generated{interval}; {load['prompt_tokens_per_second']:.1f} of prompts{cached}"


def _times(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {_duration(value)}" for name, value in found.items())


def _duration(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.2f} s" if milliseconds >= 1e4 else f"{milliseconds:.1f} ms"
