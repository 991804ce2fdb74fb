"""Quantities as text: one unit for each kind, and nouns that agree with their numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llamacli.units import counted, format_bytes, format_speed, out_of

PACKAGE = Path(__file__).parents[1] / "llamacli"
OTHER_UNITS = re.compile(r"[\d}] ?(kB|MB|TB)\b|tok/s|\} t/s")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (1, "1 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (98_362_432, "93.8 MiB"), ((1 << 20) - 1, "1.0 MiB"),
        (3 << 30, "3.0 GiB"), (5 << 40, "5.0 TiB"), (1 << 60, "1,048,576.0 TiB"), (1536.0, "1.5 KiB"),
    ],
)  # fmt: skip
def test_sizes(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_speeds_and_numbers_of_things() -> None:
    assert format_speed(1234.56) == "1,234.6 tokens/s"
    assert [counted(number, "row") for number in (0, 1, 2, 1000)] == ["0 rows", "1 row", "2 rows", "1,000 rows"]
    assert counted(2, "entry", "entries") == "2 entries"
    assert (out_of(1, 1, "text"), out_of(0, 2, "text")) == ("1 of 1 text", "0 of 2 texts")


def test_there_is_one_unit_for_each_kind() -> None:
    """But for hardware's gigabytes a second, and the Markdown of llama-bench."""
    for path in PACKAGE.rglob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            assert not OTHER_UNITS.search(line), f"{path}:{number}: {line}"
