"""The roofline of a model on a machine: as tables for people, as a document for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from llamacli.engine.ceilings import PROMPT_TOKENS, Ceiling
from llamacli.engine.roofline import Limit, RooflineReport
from llamacli.render.progress import format_bytes
from llamacli.render.text import escape_line

Paint = Callable[[str, str], str]
"""Gives a text one of the styles bold, dim, red, green, yellow, cyan."""

_LABEL, _CELL = 36, 13
_REARRANGED = "REPACK"


def format_roofline(report: RooflineReport, *, width: int, paint: Paint) -> str:
    """What the devices can do, what a token needs, how near the model comes, and what follows from it."""
    lines: list[str] = []
    for _, group in groupby(report.ceilings, key=lambda ceiling: ceiling.device):
        lines += [*_device_lines(list(group), paint), ""]
    lines += [paint(f"{escape_line(report.model)}, for each token of", "bold") + _heads("a prompt", "an answer")]
    lines += [*_need_lines(report), "", *_limit_lines(report, paint), ""]
    for sentence in report.advice:
        lines += textwrap.wrap(sentence, max(40, min(width - 1, 100)), break_on_hyphens=False)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _heads(*texts: str) -> str:
    return "".join(f"{text:>{_CELL}}" for text in texts)


def _row(label: str, cells: Sequence[str]) -> str:
    return f"{label:<{_LABEL}}{_heads(*cells)}"


def _device_lines(ceilings: Sequence[Ceiling], paint: Paint) -> Iterator[str]:
    """A table: the columns are numbers of threads."""
    first = ceilings[0]
    yield paint(f"{escape_line(first.device)}: {escape_line(first.description)}", "bold")
    yield _row("", [f"{one.threads} thread{'s' if one.threads > 1 else ''}" for one in ceilings])
    yield _row("reading memory, GB/s", [f"{one.reading / 1e9:.1f}" for one in ceilings])
    kinds = (
        (f"products with {PROMPT_TOKENS} tokens, Gop/s", "prompt"),
        ("with 1 token, from the caches, Gop/s", "single"),
    )
    for title, field in kinds:
        yield title
        for name in first.rates:
            rates = [one.rates.get(name) for one in ceilings]
            rearranged = any(rate and _REARRANGED in rate.buffer for rate in rates)
            label = f"  {name}" + (" (rearranged when loaded)" if rearranged else "")
            yield _row(label, [f"{getattr(rate, field) / 1e9:,.0f}" if rate else "-" for rate in rates])


def _need_lines(report: RooflineReport) -> Iterator[str]:
    needs = (report.prompt.need, report.generation.need)
    yield _row("bytes from memory", [format_bytes(need.bytes) for need in needs])
    yield _row("operations", [f"{need.total_operations / 1e6:,.0f} M" for need in needs])
    if len(report.shares) > 1:
        held = ", ".join(f"{escape_line(name)} {share:.0%}" for name, share in report.shares.items())
        yield f"weights on {held}"


def _limit_lines(report: RooflineReport, paint: Paint) -> Iterator[str]:
    heads = f"{'tokens per second':<20}{'reached':>9}{'95 % interval':>17}{'limit':>9}{'share':>7}  limit set by"
    yield paint(heads, "bold")
    for limit in (report.prompt, report.generation):
        interval = f"{_speed(limit.interval[0])} - {_speed(limit.interval[1])}" if limit.interval else ""
        figures = f"{_speed(limit.measured):>9}{interval:>17}{_speed(limit.limit):>9}{limit.share:>7.0%}"
        yield f"{limit.test:<20}{figures}  {limit.bound}"


def _speed(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def roofline_document(report: RooflineReport) -> dict[str, Any]:
    """The same for programs: bytes, operations and seconds are those of one token, speeds tokens or operations per second."""
    return {
        "model": report.model,
        "ceilings": [_ceiling_document(ceiling) for ceiling in report.ceilings],
        "weights_by_device": dict(report.shares),
        "weights_bytes": report.cost.weights,
        "weights_in_cache": report.is_cached,
        "prompt": _limit_document(report.prompt),
        "generation": _limit_document(report.generation),
        "advice": list(report.advice),
        "warnings": list(report.warnings),
    }


def _ceiling_document(ceiling: Ceiling) -> dict[str, Any]:
    return {
        "device": ceiling.device,
        "description": ceiling.description,
        "threads": ceiling.threads,
        "bytes_per_second": ceiling.reading,
        "types": {
            name: {
                "prompt_operations_per_second": rate.prompt,
                "single_operations_per_second": rate.single,
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
        "memory_seconds": limit.memory_seconds,
        "arithmetic_seconds": limit.arithmetic_seconds,
        "bound": limit.bound,
        "limit": limit.limit,
        "measured": limit.measured,
        "interval": list(limit.interval) if limit.interval else None,
        "share": limit.share,
    }
