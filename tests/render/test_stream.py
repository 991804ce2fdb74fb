"""Answers on a terminal while they grow: lines are broken between words, code and long words are left to the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from fakes import FakeEngine, invoke
from hypothesis import given, settings
from hypothesis import strategies as st
from tmux import Tmux, missing

from llamacli.cli.framework.console import Terminals
from llamacli.render.stream import AnswerStream, WordWrap
from llamacli.render.text import columns

WIDTHS = [40, 60, 80, 200]
ALL = Terminals(stdin=True, stdout=True, stderr=True)
PROSE = "The quick brown fox jumps over the lazy dog, again and again, until the evening comes. " * 4
CODE = f"```python\nvalues = [{', '.join(map(str, range(80)))}]\n```\n"


def shown(text: str, width: int, pieces: int = 3) -> list[str]:
    """Return the lines of a terminal that is `width` columns wide. Fails where the cursor would leave a line by itself."""
    wrap = WordWrap(lambda: width)
    written = "".join(wrap.add(text[start : start + pieces]) for start in range(0, len(text), pieces))
    lines = [""]
    for escape, end, character in re.findall(r"\x1b\[(\d+)D\x1b\[K|(\n)|(.)", written):
        if escape:
            lines[-1] = lines[-1][: -int(escape)]
        elif end:
            lines.append("")
        else:
            lines[-1] += character
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("width", WIDTHS)
def test_prose_is_broken_between_words(width: int) -> None:
    lines = shown(PROSE, width)
    assert all(len(line) < width for line in lines)
    assert " ".join(" ".join(lines).split()) == PROSE.strip()
    assert len(lines) <= len(PROSE) // (width - 8) + 1


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("one two  three", ["one two", "three"]),
        ("one two\nthree four", ["one two", "three", "four"]),
        ("abcdefghi jkl", ["abcdefghi", "jkl"]),
        ("abcdefghijkl mno", ["abcdefghijkl mno"]),
        ("a abcdefghijkl mno", ["a", "abcdefghijkl mno"]),
        ("- one two three", ["- one two", "  three"]),
        ("1. one twos", ["1. one", "   twos"]),
        ("  one twos", ["  one", "  twos"]),
        ("| a | table | row |", ["| a | table | row |"]),
        ("```\none two three\n```\none two three", ["```", "one two three", "```", "one two", "three"]),
        ("- ```x\n  one two three\n  ```\none two three", ["- ```x", "  one two three", "  ```", "one two", "three"]),
        ("東京都庁東京", ["東京都庁", "東京"]),
        ("one \tx", ["one \tx"]),
        ("one two \tx", ["one two", "x"]),
        ("", [""]),
    ],
)
def test_lines_of_ten_columns(text: str, lines: list[str]) -> None:
    assert shown(text, 10) == shown(text, 10, 1) == shown(text, 10, 100) == lines


@given(st.text(st.sampled_from("ab 京\t\n`-1.|🦙é\u200d"), max_size=80), st.integers(1, 30))
@settings(max_examples=300)
def test_nothing_is_lost(text: str, width: int) -> None:
    assert "".join("".join(shown(text, width)).split()) == "".join(text.split())


@given(st.lists(st.text(st.sampled_from("ab 京"), min_size=1, max_size=6), max_size=20), st.integers(10, 40))
def test_no_line_of_short_words_is_too_long(words: list[str], width: int) -> None:
    assert all(columns(line) < width for line in shown(" ".join(words), width))


@pytest.mark.parametrize("width", WIDTHS)
def test_run_writes_exact_text_into_a_pipe(width: int) -> None:
    pieces = re.findall(r"\s*\S+", PROSE + CODE)
    engine = FakeEngine(pieces=pieces)
    assert invoke("run", "x", engine=engine, width=width).stdout == (PROSE + CODE).strip() + "\n"
    stdout = invoke("run", "x", "--plain", engine=FakeEngine(pieces=pieces), width=width, terminals=ALL).stdout
    assert ("\x1b[" in stdout) == (width < 200 or "D" in stdout)
    for arguments in (("-x",), ("--echo",), ("--regex", ".*")):
        assert (
            "\x1b[K" not in invoke("run", "x", *arguments, engine=FakeEngine(pieces=pieces), width=width, terminals=ALL).stdout
        )
    dumb = invoke("run", "x", engine=FakeEngine(pieces=pieces), width=width, terminals=ALL, environ={"TERM": "dumb"})
    assert dumb.stdout == (PROSE + CODE).strip() + "\n"


def test_without_a_width_nothing_is_added() -> None:
    written: list[str] = []
    stream = AnswerStream(written.append, terminal=True)
    stream.add(PROSE)
    stream.finish()
    assert "".join(written) == PROSE + "\n"


PROGRAM = """
import sys
import time
sys.path[:0] = {path!r}
from fakes import FakeEngine
from llamacli.cli.boundary import run_program
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
from pathlib import Path
import re
text = Path({text!r}).read_text()
engine = FakeEngine(pieces=[text[start : start + 4] for start in range(0, len(text), 4)])
app = AppContext(console=Console.system(), open_engine=engine.open, find_model=lambda app, name, offline: Path("x"))
status = run_program(["run", "x", "--plain"], app)
if "stay" in sys.argv:  # tmux scrolls the screen of a program that ended
    time.sleep(60)
sys.exit(status)
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    (tmp_path / "text").write_text(PROSE + "\n" + CODE + "https://example.com/" + "x" * 100 + " and so on\n")
    source = PROGRAM.format(path=[str(Path(__file__).parents[1] / "support")], text=str(tmp_path / "text"))
    (tmp_path / "program.py").write_text(source)
    return [sys.executable, str(tmp_path / "program.py")]


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.parametrize("width", WIDTHS)
def test_on_a_terminal_no_word_is_broken(program: list[str], width: int, tmp_path: Path) -> None:
    with Tmux() as tmux:
        pane = tmux.start([*program, "stay"], environ={"HOME": str(tmp_path)}, width=width, height=60)
        pane.wait("and so on")
        screen, whole = pane.screen(), pane.everything()
    words = set(PROSE.split())
    prose = screen[: screen.index("```")]
    assert set(prose.split()) <= words
    assert " ".join(prose.split()) == PROSE.strip()
    assert CODE in whole
    assert re.search(rf"\nhttps://example.com/{'x' * 100}\s+and so on\n", whole)


def test_a_pty_gets_no_line_longer_than_itself(program: list[str], tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm"}
    child = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=follower, stderr=subprocess.DEVNULL, env=environ)
    os.close(follower)
    received = b""
    try:
        while chunk := os.read(leader, 4096):
            received += chunk
    except OSError:  # Linux reports the end so
        pass
    os.close(leader)
    assert child.wait() == 0
    prose = received.decode().partition("```")[0]
    assert re.search(r"\x1b\[\d+D\x1b\[K\r\n\w", prose)
