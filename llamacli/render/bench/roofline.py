"""The roofline of a model on a machine, as tables or as a JSON document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from llamacli.bench.roofline.ceiling import PROMPT_TOKENS, Ceiling
from llamacli.bench.roofline.model import Limit, RooflineReport
from llamacli.render.bench.advice import format_advice
from llamacli.render.columns import format_records
from llamacli.render.text import columns, escape_line
from llamacli.render.wrap import wrap
from llamacli.units import counted, format_bytes

Paint = Callable[[str, str], str]
"""A function that returns text in one of the styles bold, dim, red, green, yellow and cyan."""

_LABEL, _CELL = 36, 13
_WIDEST = 100
_REPACKED = "REPACK"
_BUSY = "busy"


def format_roofline(report: RooflineReport, *, width: int, paint: Paint) -> str:
    """Return the peaks of the devices, the needs of a token, the limits of the model, and advice."""
    lines: list[str] = []
    for _, group in groupby(report.ceilings, key=lambda ceiling: ceiling.device):
        lines += [*_device_lines(list(group), width, paint), ""]
    lines += [*_need_lines(report, width, paint), "", *_limit_lines(report, width, paint), ""]
    for sentence in format_advice(report):
        lines += wrap(sentence, min(width, _WIDEST))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _row(label: str, cells: Sequence[str]) -> str:
    return f"{label:<{_LABEL}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)


def _device_lines(ceilings: Sequence[Ceiling], width: int, paint: Paint) -> list[str]:
    """Return the table of a device with a column for each number of threads."""
    first = ceilings[0]
    title = f"{escape_line(first.device)}: {escape_line(first.description)}"
    heading = [paint(line, "bold") for line in wrap(title, width, rest="  ")]
    threads = [counted(one.threads, "thread") for one in ceilings]
    rows = list(_device_rows(ceilings))
    lines = [_row("", threads), *(_row(label, cells) for label, *cells in rows)]
    return [*heading, *(lines if max(map(columns, lines)) <= width else format_records(threads, rows, width))]


def _device_rows(ceilings: Sequence[Ceiling]) -> Iterator[tuple[str, ...]]:
    yield "reading memory, GB/s", *(_BUSY if "reading" in one.lost else f"{one.reading / 1e9:.1f}" for one in ceilings)
    kinds = (
        (f"products with {PROMPT_TOKENS} tokens, Gop/s", "prompt"),
        ("with 1 token, from the caches, Gop/s", "single"),
    )
    for title, field in kinds:
        yield (title,)
        for name in ceilings[0].rates:
            rates = [one.rates.get(name) for one in ceilings]
            repacked = any(rate and _REPACKED in rate.buffer for rate in rates)
            label = f"  {name}" + (" (repacked on loading)" if repacked else "")
            figures = [one.figures().get(f"{name} {field}") for one in ceilings]
            lost = [f"{name} {field}" in one.lost for one in ceilings]
            yield label, *(_BUSY if busy else _rate(speed) for speed, busy in zip(figures, lost, strict=True))


def _need_lines(report: RooflineReport, width: int, paint: Paint) -> list[str]:
    needs = (report.prompt.need, report.generation.need)
    head, titles = f"{escape_line(report.model)}, for each token of", ("a prompt", "an answer")
    rows = [
        ("bytes from memory", *(format_bytes(need.bytes) for need in needs)),
        ("operations", *(f"{need.total_operations / 1e6:,.0f} M" for need in needs)),
    ]
    lines = [paint(head, "bold") + _row("", titles)[_LABEL:], *(_row(label, cells) for label, *cells in rows)]
    if max(map(columns, lines)) > width:
        lines = [*(paint(line, "bold") for line in wrap(head, width)), *format_records(titles, rows, width)]
    if len(report.shares) > 1:
        held = ", ".join(f"{escape_line(name)} {share:.0%}" for name, share in report.shares.items())
        lines += wrap(f"weights on {held}", width, rest="  ")
    return lines


def _limit_lines(report: RooflineReport, width: int, paint: Paint) -> list[str]:
    titles = ("reached", "95 % interval", "limit", "share", "limit set by")
    rows = [(limit.test, *_limit_cells(limit)) for limit in (report.prompt, report.generation)]
    head, *lines = [_limit_line(row, width) for row in [("tokens/s", *titles), *rows]]
    if columns(head[0]) <= width and len(head) == 1:
        return [paint(head[0], "bold"), *(line for wrapped in lines for line in wrapped)]
    return [paint("tokens/s", "bold"), *format_records(titles, rows, width)]


def _limit_line(cells: tuple[str, ...], width: int) -> list[str]:
    name, reached, interval, limit, share, bound = cells
    return wrap(bound, width, first=f"{name:<20}{reached:>9}{interval:>17}{limit:>9}{share:>7}  ", rest=" " * 64)


def _limit_cells(limit: Limit) -> tuple[str, ...]:
    interval = f"{_speed(limit.interval[0])} - {_speed(limit.interval[1])}" if limit.interval else ""
    if not limit.is_known:
        return _speed(limit.measured), interval, "-", "-", "not measured: machine busy"
    return _speed(limit.measured), interval, _speed(limit.limit), f"{limit.share:.0%}", limit.bound


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
