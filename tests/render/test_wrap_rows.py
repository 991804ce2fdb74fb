"""Rows of a terminal, broken between words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamacli.render.tokenize.view import columns
from llamacli.render.wrap import wrap, wrap_parts

TEXTS = st.lists(st.sampled_from(["a", "word", "  two", " x", "größer", "東京都庁", "🦙", "long" * 12, " "]), max_size=30).map(
    " ".join
)


@pytest.mark.parametrize(
    ("text", "width", "hang", "rows"),
    [
        ("", 10, 0, [""]),
        ("one two three", 80, 4, ["one two three"]),
        ("one two three four", 9, 0, ["one two", "three", "four"]),
        ("name:  one two three four five", 24, 7, ["name:  one two three", "       four five"]),
        ("name:  one two three", 12, 7, ["name:  one", "    two", "    three"]),
        ("  note one two", 10, 2, ["  note one", "  two"]),
        ("a" * 25, 10, 0, ["a" * 10, "a" * 10, "a" * 5]),
        ("東京 大阪 京都", 10, 0, ["東京 大阪", "京都"]),
        ("one", 0, 0, ["o", "n", "e"]),
    ],
)
def test_rows(text: str, width: int, hang: int, rows: list[str]) -> None:
    assert wrap(text, width, hang=hang) == rows


@given(TEXTS, st.integers(4, 60), st.integers(0, 30))
def test_rows_fit_and_lose_nothing(text: str, width: int, hang: int) -> None:
    rows = wrap(text, width, hang=hang)
    assert all(columns(row) <= width for row in rows)
    assert re.sub(r"\s", "", "".join(rows)) == re.sub(r"\s", "", text)
    if width > 50 and hang <= 2:
        assert " ".join(" ".join(rows).split()) == " ".join(text.split())


def test_parts_are_kept_together() -> None:
    assert wrap_parts(["one two", "three", "four five"], " · ", 80) == ["one two · three · four five"]
    assert wrap_parts(["one two", "three", "four five"], " · ", 15) == ["one two · three", "four five"]
    assert wrap_parts(["one two three"], " · ", 8) == ["one two", "three"]
