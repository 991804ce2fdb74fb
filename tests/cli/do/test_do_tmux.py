"""`llamacli do` on a real terminal, and its key bindings in real shells: keys are sent, the screen is read back."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tmux import Pane, Tmux, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOT = Path(__file__).parents[3]
PROGRAM = str(ROOT / "tests" / "support" / "chat_program.py")
QUESTION = "n(o):"


@pytest.fixture(scope="module")
def tmux() -> Iterator[Tmux]:
    with Tmux() as server:
        yield server


def start(tmux: Tmux, home: Path, command: str, *, width: int = 80, answers: tuple[str, ...] = (), **environ: str) -> Pane:
    """The program at its question, with a model that proposes `command`."""
    proposed = json.dumps({"command": command, "explanation": "It does what was asked for, and a little more than that."})
    scene = home / "scene.json"
    scene.write_text(json.dumps({"answers": [proposed, *answers]}))
    variables = {"HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "SHELL": "/bin/sh", **environ}
    words = [sys.executable, PROGRAM, str(scene), "do", "--shell", "sh", "a task"]
    pane = tmux.start(words, environ=variables, width=width)
    pane.wait(QUESTION)
    return pane


@pytest.mark.parametrize("width", [40, 200])
def test_a_command_is_shown_run_and_its_status_told(tmux: Tmux, tmp_path: Path, width: int) -> None:
    command = f"echo ran > {tmp_path}/out; printf 'one two %s\\n' three; exit 3"
    pane = start(tmux, tmp_path, command, width=width)
    shown = pane.everything()
    assert f"  {command}" in shown
    assert f"overwrites or changes: > {tmp_path}/out".replace(" ", "") in shown.replace("\n", "").replace(" ", "")
    assert all(len(line) <= width for line in pane.screen().splitlines())
    assert not (tmp_path / "out").exists()
    pane.say("r")
    assert pane.wait_for_end() == 3
    screen = pane.everything()
    assert "one two three" in screen
    assert "ended with" in screen
    assert (tmp_path / "out").read_text() == "ran\n"


def test_the_line_is_edited_and_asked_about_again(tmux: Tmux, tmp_path: Path) -> None:
    pane = start(tmux, tmp_path, "echo one")
    pane.say("e")
    pane.wait("> echo one")
    pane.keys("BSpace", "BSpace", "BSpace")
    pane.type("two | wc -c")
    pane.keys("Enter")
    pane.wait(QUESTION, times=2)
    assert "  echo two | wc -c" in pane.everything()
    pane.say("r")
    assert pane.wait_for_end() == 0
    assert "\n4\n" in pane.everything()


def test_the_editor_changes_the_line(tmux: Tmux, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "echo from the editor" > "$1"\n')
    editor.chmod(0o755)
    pane = start(tmux, tmp_path, "echo one", EDITOR=str(editor))
    pane.say("e")
    pane.wait("> echo one")
    pane.keys("C-o")
    pane.wait("> echo from the editor")
    pane.keys("Enter")
    pane.wait(QUESTION, times=2)
    pane.say("n")
    assert pane.wait_for_end() == 1
    assert "nothing was run" in pane.everything()


@pytest.mark.parametrize(("key", "status"), [("C-c", 130), ("C-d", 1)])
def test_leaving_at_the_question_runs_nothing(tmux: Tmux, tmp_path: Path, key: str, status: int) -> None:
    pane = start(tmux, tmp_path, f"touch {tmp_path}/x")
    pane.keys(key)
    assert pane.wait_for_end() == status
    assert not (tmp_path / "x").exists()


def test_ctrl_c_ends_the_command_alone(tmux: Tmux, tmp_path: Path) -> None:
    pane = start(tmux, tmp_path, "trap 'echo trapped; exit 7' INT; echo sleeping; sleep 60")
    pane.say("r")
    pane.wait("\nsleeping")
    pane.keys("C-c")
    assert pane.wait_for_end() == 7
    assert "\n^Ctrapped" in pane.everything() or "\ntrapped" in pane.everything()


def test_an_explanation_streams_and_hostile_text_is_marked(tmux: Tmux, tmp_path: Path) -> None:
    pane = start(tmux, tmp_path, "echo \x1b]2;owned\x07\nls", answers=("It sets \x1b]2;owned\x07 a title.",))
    pane.say("x")
    pane.wait(QUESTION, times=2)
    screen = pane.everything()
    assert "  echo \\u001b]2;owned\\u0007\n  ls\n" in screen
    assert "has invisible characters: \\x1b, \\x07" in screen
    assert "It sets \\x1b]2;owned\\x07 a title." in screen
    assert pane.ask("#{pane_title}") != "owned"
    pane.keys("C-c")
    assert pane.wait_for_end() == 130


def test_without_colours_there_are_none(tmux: Tmux, tmp_path: Path) -> None:
    pane = start(tmux, tmp_path, "rm x", NO_COLOR="1")
    assert "\x1b[" not in pane.escapes()
    pane.say("n")
    assert pane.wait_for_end() == 1
    pane = start(tmux, tmp_path, "rm x")
    assert "\x1b[1m" in pane.escapes()
    pane.say("n")


SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_key_puts_a_command_on_the_line_and_does_not_run_it(tmux: Tmux, tmp_path: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    program = tmp_path / "bin" / "llamacli"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$*" > "$HOME/asked"\necho "It writes." >&2\necho "echo it \'ran\' >out"\n')
    program.chmod(0o755)
    environ = {"HOME": str(tmp_path), "PATH": f"{program.parent}:/usr/bin:/bin", "PS1": "$ ", "LLAMACLI_TEST_SHELL": "1"}
    pane = tmux.start(SHELLS[shell], environ=environ)
    pane.say(f"cd {tmp_path}; source {ROOT}/completions/keys.{shell}; echo rea''dy")
    pane.wait("ready")
    pane.type("list 'all' $HOME")
    pane.keys("M-a")
    pane.wait("echo it 'ran' >out")
    assert (tmp_path / "asked").read_text() == f"do --print --shell {shell} -- list 'all' $HOME\n"
    assert not (tmp_path / "out").exists()
    pane.keys("Enter")
    pane.say("echo wri''tten; cat out")
    pane.wait("it ran")
    assert (tmp_path / "out").read_text() == "it ran\n"
    pane.keys("C-d")
