"""Answers of `llamacli run` on a terminal: Markdown, words that wrap; plain text with --plain, unchanged text in a pipe."""

from __future__ import annotations

import re

import pytest
from fakes import FakeEngine, invoke

from llamacli.cli.framework.console import Terminals

ON_TERMINAL = Terminals(stdin=True, stdout=True, stderr=True)
ANSWER = "# Title\n\nSome **bold** words that go on until the line ends.\n\n```py\nif x:\n    y = 1\n```\n"
WORDS = ["Title", "", "Some bold words that go on", "until the line ends.", "", "if x:", "    y = 1"]


def shown(*arguments: str, pieces: tuple[str, ...] = (ANSWER,), terminals: Terminals = ON_TERMINAL, **more) -> str:
    result = invoke("run", "hi", *arguments, engine=FakeEngine(pieces=pieces), terminals=terminals, **more)
    assert (result.status, result.stderr) == (0, "")
    return result.stdout


def test_an_answer_is_rendered_on_a_terminal() -> None:
    out = shown(width=30)
    assert "\x1b[1" in out
    assert re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines() == WORDS


def test_several_answers_are_rendered_one_after_the_other() -> None:
    out = shown("--samples", "2", width=30, environ={"NO_COLOR": "1"})
    assert out.splitlines() == [*WORDS, "", *WORDS]


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (["--plain"], {}),
        (["--raw"], {}),
        ([], {"environ": {"TERM": "dumb"}}),
        ([], {"terminals": Terminals(stdin=True, stderr=True)}),
    ],
)
def test_the_text_stays_where_it_is_not_to_be_rendered(arguments: list[str], more: dict) -> None:
    assert shown(*arguments, width=80, **more) == ANSWER


def test_constrained_and_echoed_text_is_not_rendered() -> None:
    text = '{"a": "**b**"}'
    assert shown("--regex", ".*", pieces=(text,)) == f"{text}\n"
    assert "**b**" in shown("--echo", pieces=(text,))


def test_reasoning_stays_on_standard_error_and_a_growing_answer_is_redrawn() -> None:
    out = shown(pieces=("**bo", "ld** ", "text"), environ={"NO_COLOR": "1"}, width=40)
    assert out.rsplit("\x1b[J", 1)[-1] == "bold text\n"
