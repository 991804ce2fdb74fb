"""Text broken between words, with a hanging indent."""

from __future__ import annotations

import pytest
from fakes import invoke
from hypothesis import given, settings
from hypothesis import strategies as st

from llamacli.cli.framework.console import Terminals
from llamacli.render.text import columns, wrap

ALL = Terminals(stdin=True, stdout=True, stderr=True)
WIDTHS = [40, 60, 80, 200]


@pytest.mark.parametrize("width", WIDTHS)
@settings(deadline=None)
@given(words=st.lists(st.text(st.characters(categories=["L", "N", "P", "Mn"]), min_size=1, max_size=12), max_size=40))
def test_every_word_is_kept_and_no_line_is_too_long(width: int, words: list[str]) -> None:
    words = " ".join(words).split()
    lines = wrap(" ".join(words), width, first="name: ")
    assert [word for line in lines for word in line.split()] == ["name:", *words]
    assert all(columns(line) <= width for line in lines)
    assert all(line.startswith("      ") for line in lines[1:])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["- "]),
        ("one", ["- one"]),
        ("one two three four", ["- one two", "  three", "  four"]),
        ("a /a/path/that/is/longer b", ["- a", "  /a/path/that/is/longer", "  b"]),
        ("中文 中文 中文", ["- 中文", "  中文", "  中文"]),
        ("\x1b[1mone\x1b[0m two", ["- \x1b[1mone\x1b[0m two"]),
        ("e\u0301te\u0301 two", ["- e\u0301te\u0301 two"]),
    ],
)
def test_lines_of_ten_columns(text: str, lines: list[str]) -> None:
    assert wrap(text, 10, first="- ") == lines


def test_the_other_lines_may_begin_with_something_else() -> None:
    assert wrap("one two", 6, first="a: ", rest="") == ["a: one", "two"]


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
