"""`llamacli help`: guides and the help of commands, on terminals of any width, through a pager, and in pipes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from fakes import invoke

from llamacli.cli.framework.console import Terminals
from llamacli.cli.help.pager import pager_command
from llamacli.cli.help.topics import TOPICS
from llamacli.cli.registry import REGISTRY

ROOT = Path(__file__).resolve().parents[3]
ON_TERMINAL = Terminals(stdin=True, stdout=True, stderr=True)


def code_lines(topic) -> set[str]:
    """The lines of a guide that may be wider than the terminal: code is never broken."""
    lines, inside = set(), False
    for line in topic.read().splitlines():
        if line.strip().startswith("```"):
            inside = not inside
        elif inside:
            lines.add(line.strip())
    return lines


def test_without_a_topic_guides_and_commands_are_listed() -> None:
    result = invoke("help")
    assert (result.status, result.stderr) == (0, "")
    for one in (*TOPICS, *REGISTRY):
        assert f"    {one.name}" in result.stdout
        assert one.summary in result.stdout


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_guide_fits_the_width(topic, width: int) -> None:
    result = invoke("help", topic.name, width=width)
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.startswith(f"llamacli-{topic.name}: {topic.summary}"[:width])
    code = code_lines(topic)
    limit = min(width, 100)
    long = [line for line in result.stdout.splitlines()[1:] if len(line) > limit and line.strip() not in code]
    assert [line for line in long if max(map(len, line.split())) <= limit - 8] == []
    if width >= 80:
        assert [line for line in result.stdout.splitlines() if len(line) > limit] == []
    assert "\x1b" not in result.stdout


def test_the_name_of_the_man_page_is_accepted() -> None:
    assert invoke("help", "llamacli-python").stdout == invoke("help", "python").stdout


@pytest.mark.parametrize("words", [("run",), ("models",), ("bench", "compare"), ("embed", "index"), ("embed", "index", "add")])
def test_the_help_of_a_command_is_that_of_the_command(words: tuple[str, ...]) -> None:
    result = invoke("help", *words) if words != ("models",) else invoke("help", "config")
    own = (
        invoke(*words, "--help-all")
        if words[0] != "models" and words != ("embed", "index")
        else invoke("config" if words[0] == "models" else "embed", *(("index",) if words[0] == "embed" else ()), "--help")
    )
    assert (result.status, result.stdout) == (0, own.stdout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pipline",), "no help about pipline (did you mean pipelines?)"),
        (("tokenise",), "no help about tokenise (did you mean tokenize?)"),
        (("bench", "compar"), "no help about bench compar (did you mean compare?)"),
        (("run", "fast"), "no help about run fast (`llamacli help` lists the guides and the commands)"),
        (("xyz",), "no help about xyz (`llamacli help` lists the guides and the commands)"),
    ],
)
def test_an_unknown_topic_is_a_usage_error_with_a_suggestion(words: tuple[str, ...], message: str) -> None:
    result = invoke("help", *words)
    assert (result.status, result.stdout, result.stderr) == (2, "", f"llamacli: error: {message}\n")


def test_it_works_while_the_settings_are_broken(isolated_home: Path) -> None:
    settings = isolated_home / ".config" / "llamacli" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[defaults\n")
    assert invoke("help", "settings").status == 0


def test_headings_are_bold_on_a_terminal_and_not_with_no_color() -> None:
    plain = {"PAGER": "", "NO_COLOR": "1"}
    colored = invoke("help", "grammars", terminals=ON_TERMINAL, environ={"PAGER": ""}).stdout
    assert "\x1b[1mThe workbench\x1b[0m" in colored
    assert "\x1b[1m--strict\x1b[0m" in colored
    assert "\x1b" not in invoke("help", "grammars", terminals=ON_TERMINAL, environ=plain).stdout


@pytest.mark.parametrize(
    ("environ", "command"),
    [
        ({}, ["less", "-R"]),
        ({"PAGER": "more"}, ["more"]),
        ({"LLAMACLI_PAGER": "less -S", "PAGER": "more"}, ["less", "-S"]),
        ({"LLAMACLI_PAGER": "", "PAGER": "more"}, []),
        ({"PAGER": "cat"}, []),
        ({"PAGER": "'"}, []),
        ({"TERM": "dumb"}, []),
    ],
)
def test_the_pager_is_what_the_environment_says(environ: dict[str, str], command: list[str]) -> None:
    assert pager_command(environ) == command


def test_a_pager_that_does_not_exist_is_no_obstacle() -> None:
    result = invoke("help", "python", terminals=ON_TERMINAL, environ={"PAGER": "/no/such/pager"})
    assert result.stdout.split()[-2:] == ["from", "files"]


class Terminal:
    """`llamacli help` on a terminal of 24 rows."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self.process, self.descriptor = pty.fork()
        if not self.process:
            environ = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT), **environ}
            os.execvpe(sys.executable, [sys.executable, "-m", "llamacli", "help", *arguments], environ)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.shown = b""

    def wait_for(self, text: bytes) -> None:
        deadline = time.monotonic() + 30
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not self.read():
                assert text in self.shown, self.shown
                return

    def read(self) -> bool:
        """Read what is shown within a moment. Return whether the terminal is still open."""
        if not select.select([self.descriptor], [], [], 0.3)[0]:
            return True
        try:
            piece = os.read(self.descriptor, 65536)
        except OSError:
            return False
        self.shown += piece
        return bool(piece)

    def status(self, key: bytes = b"") -> int:
        """Wait for the end, and return the exit status. `key` is pressed until then: a pager may drop keys after Ctrl-C."""
        deadline = time.monotonic() + 60
        while self.read():
            assert time.monotonic() < deadline, self.shown
            if key:
                with contextlib.suppress(OSError):
                    os.write(self.descriptor, key)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def test_a_pager_gets_the_text(tmp_path: Path) -> None:
    terminal = Terminal("python", LLAMACLI_PAGER=f"tee {tmp_path / 'seen'}", NO_COLOR="1")
    assert terminal.status() == 0
    assert (tmp_path / "seen").read_text() == invoke("help", "python").stdout


def test_a_pager_that_ends_early_is_no_error() -> None:
    terminal = Terminal("benchmarks", PAGER="head -n 1")
    assert terminal.status() == 0
    assert b"Traceback" not in terminal.shown


@pytest.mark.skipif(subprocess.run(["which", "less"], capture_output=True, check=False).returncode != 0, reason="no less")
def test_ctrl_c_is_for_the_pager_and_q_leaves_it() -> None:
    terminal = Terminal("benchmarks")
    terminal.wait_for(b"llama-bench")
    os.write(terminal.descriptor, b"\x03")
    assert terminal.status(key=b"q") == 0
    assert b"Traceback" not in terminal.shown


def test_sigterm_ends_the_pager_too(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho ready\ntrap 'echo ended; exit' TERM\nwhile :; do sleep 0.05; done\n")
    pager.chmod(0o755)
    terminal = Terminal("python", PAGER=str(pager))
    terminal.wait_for(b"ready")
    os.kill(terminal.process, signal.SIGTERM)
    assert terminal.status() == 143
    assert b"ended" in terminal.shown
