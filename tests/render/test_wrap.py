"""Text broken between words, with a hanging indent, or cut."""

from __future__ import annotations

import doctest
import re

import pytest
from fakes import invoke
from hypothesis import given, settings
from hypothesis import strategies as st

from llamacli.cli.framework.console import Terminals
from llamacli.render import wrap as wrapping
from llamacli.render.text import columns
from llamacli.render.wrap import cut, shorten, wrap, wrap_parts

ALL = Terminals(stdin=True, stdout=True, stderr=True)
WIDTHS = [40, 60, 80, 200]
TEXTS = st.lists(st.sampled_from(["a", "word", "  two", " x", "größer", "東京都庁", "🦙", "long" * 12, " "]), max_size=30).map(
    " ".join
)


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(wrapping).failed == 0


@pytest.mark.parametrize("width", WIDTHS)
@settings(deadline=None)
@given(words=st.lists(st.text(st.characters(categories=["L", "N", "P", "Mn"]), min_size=1, max_size=12), max_size=40))
def test_every_word_is_kept_and_no_line_is_too_long(width: int, words: list[str]) -> None:
    words = " ".join(words).split()
    lines = wrap(" ".join(words), width, first="name: ")
    assert [word for line in lines for word in line.split()] == ["name:", *words]
    assert all(columns(line) <= width for line in lines)
    assert all(line.startswith("      ") for line in lines[1:])


@given(TEXTS, st.integers(4, 60), st.integers(0, 30))
def test_broken_words_fit_and_nothing_is_lost(text: str, width: int, hang: int) -> None:
    lines = wrap(text, width, rest=" " * hang, breaks_words=True)
    assert all(columns(line) <= width for line in lines)
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    if width > 50 and hang <= 2:
        assert " ".join(" ".join(lines).split()) == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["- "]),
        ("one", ["- one"]),
        ("one two three four", ["- one two", "  three", "  four"]),
        ("a /a/path/that/is/longer b", ["- a", "  /a/path/that/is/longer", "  b"]),
        ("/a/path/that/is/longer b", ["- /a/path/that/is/longer", "  b"]),
        ("中文 中文 中文", ["- 中文", "  中文", "  中文"]),
        ("\x1b[1mone\x1b[0m two", ["- \x1b[1mone\x1b[0m two"]),
        ("e\u0301te\u0301 two", ["- e\u0301te\u0301 two"]),
    ],
)
def test_lines_of_ten_columns(text: str, lines: list[str]) -> None:
    assert wrap(text, 10, first="- ") == lines


@pytest.mark.parametrize(
    ("text", "width", "hang", "lines"),
    [
        ("", 10, 0, [""]),
        ("one two three", 80, 4, ["one two three"]),
        ("one two three four", 9, 0, ["one two", "three", "four"]),
        ("name:  one two three four five", 24, 7, ["name:  one two three", "       four five"]),
        ("name:  one two three", 12, 7, ["name:  one", "    two", "    three"]),
        ("  note one two", 10, 2, ["  note one", "  two"]),
        ("a" * 25, 10, 0, ["a" * 10, "a" * 10, "a" * 5]),
        ("x" + "\x1b[1ma\x1b[0m" * 3, 2, 0, ["x\x1b[1ma\x1b[0m", "\x1b[1ma\x1b[0m" * 2]),
        ("x=one,two,three,four", 12, 0, ["x=one,two,", "three,four"]),
        ("東京 大阪 京都", 10, 0, ["東京 大阪", "京都"]),
        ("one", 0, 0, ["o", "n", "e"]),
    ],
)
def test_lines_with_long_words_broken(text: str, width: int, hang: int, lines: list[str]) -> None:
    assert wrap(text, width, rest=" " * hang, breaks_words=True) == lines


def test_the_other_lines_may_begin_with_something_else() -> None:
    assert wrap("one two", 6, first="a: ", rest="") == ["a: one", "two"]
    assert wrap("three", 6, first="a: ", rest="") == ["a:", "three"]


def test_text_for_a_program_is_not_broken() -> None:
    assert wrap("one  two", None, first="a: ") == ["a: one  two"]
    assert wrap_parts(["one", "two"], ", ", None) == ["one, two"]
    assert cut("one two", None) == shorten("one two", None) == "one two"


def test_parts_are_kept_together() -> None:
    assert wrap_parts(["one two", "three", "four five"], " · ", 80) == ["one two · three · four five"]
    assert wrap_parts(["one two", "three", "four five"], " · ", 15) == ["one two · three", "four five"]
    assert wrap_parts(["one two three"], " · ", 8) == ["one two", "three"]
    assert wrap_parts(["one two", "three"], " · ", 22, first="a: ") == ["a: one two · three"]
    assert wrap_parts(["one two", "three four five"], " · ", 20, first="a: ") == ["a: one two", "   three four five"]
    assert wrap_parts(["one two three", "four"], " · ", 8, first="abc: ") == ["abc: one", "    two", "    three", "    four"]


@given(TEXTS, st.integers(1, 60))
def test_cut_text_fits(text: str, width: int) -> None:
    for short in (cut(text, width), shorten(text, width)):
        assert columns(short) <= width
        assert short == text or "…" in short


@pytest.mark.parametrize("width", WIDTHS)
def test_errors_are_wrapped_on_a_terminal_only(width: int) -> None:
    arguments = ("run", "x", "--input-format", "csv", "y" * 30, "and several other words", "that make it long")
    piped = invoke(*arguments, width=width)
    assert piped.stderr.count("\n") == 1
    shown = invoke(*arguments, width=width, terminals=ALL, environ={"NO_COLOR": "1"}).stderr
    assert " ".join(shown.split()) == " ".join(piped.stderr.split())
    lines = shown.splitlines()
    assert all(len(line) <= width for line in lines)
    assert all(line.startswith("          ") for line in lines[1:])
    assert (len(lines) == 1) == (width == 200)
