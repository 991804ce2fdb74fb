"""The roofline of a model on a machine, as tables or as a JSON document."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from llamacli.bench.roofline.model import Limit, RooflineReport
from llamacli.bench.roofline.peaks import PROMPT_TOKENS, Ceiling
from llamacli.render.bench.advice import format_advice
from llamacli.render.text import escape_line
from llamacli.units import counted, format_bytes

Paint = Callable[[str, str], str]
"""A function that returns text in one of the styles bold, dim, red, green, yellow and cyan."""

_LABEL, _CELL = 36, 13
_REPACKED = "REPACK"
_BUSY = "busy"


def format_roofline(report: RooflineReport, *, width: int, paint: Paint) -> str:
    """Return the peaks of the devices, the needs of a token, the limits of the model, and advice."""
    lines: list[str] = []
    for _, group in groupby(report.ceilings, key=lambda ceiling: ceiling.device):
        lines += [*_device_lines(list(group), paint), ""]
    lines += [paint(f"{escape_line(report.model)}, for each token of", "bold") + _heads("a prompt", "an answer")]
    lines += [*_need_lines(report), "", *_limit_lines(report, paint), ""]
    for sentence in format_advice(report):
        lines += textwrap.wrap(sentence, max(40, min(width - 1, 100)), break_on_hyphens=False)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _heads(*texts: str) -> str:
    return "".join(f"{text:>{_CELL}}" for text in texts)


def _row(label: str, cells: Sequence[str]) -> str:
    return f"{label:<{_LABEL}}{_heads(*cells)}"


def _device_lines(ceilings: Sequence[Ceiling], paint: Paint) -> Iterator[str]:
    """Yield the table of a device with a column for each number of threads."""
    first = ceilings[0]
    yield paint(f"{escape_line(first.device)}: {escape_line(first.description)}", "bold")
    yield _row("", [counted(one.threads, "thread") for one in ceilings])
    yield _row("reading memory, GB/s", [_BUSY if "reading" in one.lost else f"{one.reading / 1e9:.1f}" for one in ceilings])
    kinds = (
        (f"products with {PROMPT_TOKENS} tokens, Gop/s", "prompt"),
        ("with 1 token, from the caches, Gop/s", "single"),
    )
    for title, field in kinds:
        yield title
        for name in first.rates:
            rates = [one.rates.get(name) for one in ceilings]
            repacked = any(rate and _REPACKED in rate.buffer for rate in rates)
            label = f"  {name}" + (" (repacked on loading)" if repacked else "")
            figures = [one.figures().get(f"{name} {field}") for one in ceilings]
            lost = [f"{name} {field}" in one.lost for one in ceilings]
            yield _row(label, [_BUSY if busy else _rate(speed) for speed, busy in zip(figures, lost, strict=True)])


def _need_lines(report: RooflineReport) -> Iterator[str]:
    needs = (report.prompt.need, report.generation.need)
    yield _row("bytes from memory", [format_bytes(need.bytes) for need in needs])
    yield _row("operations", [f"{need.total_operations / 1e6:,.0f} M" for need in needs])
    if len(report.shares) > 1:
        held = ", ".join(f"{escape_line(name)} {share:.0%}" for name, share in report.shares.items())
        yield f"weights on {held}"


def _limit_lines(report: RooflineReport, paint: Paint) -> Iterator[str]:
    heads = f"{'tokens/s':<20}{'reached':>9}{'95 % interval':>17}{'limit':>9}{'share':>7}  limit set by"
    yield paint(heads, "bold")
    for limit in (report.prompt, report.generation):
        interval = f"{_speed(limit.interval[0])} - {_speed(limit.interval[1])}" if limit.interval else ""
        yield f"{limit.test:<20}{_speed(limit.measured):>9}{interval:>17}{_limit_cells(limit)}"


def _limit_cells(limit: Limit) -> str:
    if not limit.is_known:
        return f"{'-':>9}{'-':>7}  not measured: machine busy"
    return f"{_speed(limit.limit):>9}{limit.share:>7.0%}  {limit.bound}"


def _rate(speed: float | None) -> str:
    """Return operations per second in billions, with a decimal below 10."""
    if speed is None:
        return "-"
    return f"{speed / 1e9:,.0f}" if speed >= 1e10 else f"{speed / 1e9:.1f}"


def _speed(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def roofline_document(report: RooflineReport) -> dict[str, Any]:
    """Return the JSON document: bytes, operations and seconds are those of one token, speeds tokens or operations per second.

    Values that could not be measured on a busy machine are null.
    """
    return {
        "model": report.model,
        "ceilings": [_ceiling_document(ceiling) for ceiling in report.ceilings],
        "weights_by_device": dict(report.shares),
        "weights_bytes": report.cost.weights,
        "weights_in_cache": report.is_cached,
        "prompt": _limit_document(report.prompt),
        "generation": _limit_document(report.generation),
        "advice": list(format_advice(report)),
        "warnings": list(report.warnings),
    }


def _ceiling_document(ceiling: Ceiling) -> dict[str, Any]:
    figures = {name: None if name in ceiling.lost else speed for name, speed in ceiling.figures().items()}
    return {
        "device": ceiling.device,
        "description": ceiling.description,
        "threads": ceiling.threads,
        "bytes_per_second": figures["reading"],
        "types": {
            name: {
                "prompt_operations_per_second": figures[f"{name} prompt"],
                "single_operations_per_second": figures[f"{name} single"],
                "buffer": rate.buffer,
            }
            for name, rate in ceiling.rates.items()
        },
    }


def _limit_document(limit: Limit) -> dict[str, Any]:
    return {
        "test": limit.test,
        "bytes": limit.need.bytes,
        "operations": limit.need.total_operations,
        "operations_by_type": dict(limit.need.operations),
        "attention_operations": limit.need.attention,
        "memory_seconds": limit.memory_seconds if limit.is_known else None,
        "arithmetic_seconds": limit.arithmetic_seconds if limit.is_known else None,
        "bound": limit.bound if limit.is_known else None,
        "limit": limit.limit if limit.is_known else None,
        "measured": limit.measured,
        "interval": list(limit.interval) if limit.interval else None,
        "share": limit.share if limit.is_known else None,
    }
