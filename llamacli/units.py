"""Quantities as text, with one unit for each kind: sizes in powers of 1,024, speeds in tokens per second.

A leaf like `errors`: messages of every room name quantities.
"""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def format_bytes(count: float) -> str:
    """A size: `512 B`, `93.8 MiB`."""
    size = float(count)
    for unit in _UNITS:
        digits = 0 if unit == "B" else 1
        if round(size, digits) < 1024 or unit == _UNITS[-1]:
            return f"{size:,.{digits}f} {unit}"
        size /= 1024
    raise AssertionError  # the last unit has no limit


def format_speed(rate: float) -> str:
    """A speed: `98.1 tokens/s`."""
    return f"{rate:,.1f} tokens/s"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things: `1 row`, `2 rows`, `1,000 entries` with the plural `entries`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def out_of(part: int, total: int, noun: str, plural: str | None = None) -> str:
    """A part of a number of things: `1 of 2 rows`, `1 of 1 row`."""
    return f"{part:,} of {counted(total, noun, plural)}"
