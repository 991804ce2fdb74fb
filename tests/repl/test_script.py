"""`chat --script`: a conversation played from a file, without a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chat_program import SceneEngine
from fakes import FakeEngine, Result, invoke
from talk import Talker
from tool_calls import LOOK, called

from llamacli.errors import DecodeError, ModelFileError, UsageError
from llamacli.repl.script import read_script

PROGRAM = str(Path(__file__).parents[1] / "support" / "chat_program.py")


def play(tmp_path: Path, text: str, *arguments: str, engine: FakeEngine | None = None) -> Result:
    (tmp_path / "script.txt").write_text(text)
    return invoke("chat", "--script", str(tmp_path / "script.txt"), *arguments, stdin=b"", engine=engine or Talker())


def test_a_script_prints_what_the_user_would_see(tmp_path: Path) -> None:
    engine = Talker(answers=[("# Hel", "lo\n\n", "- one\n", "- two\n"), ("It is **fine**.",)])
    result = play(tmp_path, '/set temp 0.5\n\nHi\n"""\nHow\n\nare you?\n"""\n/stats\n', "-sys", "Be kind.", engine=engine)
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.startswith("> /set temp 0.5\ntemperature = 0.5\n> Hi\nHello\n\n • one\n • two\n\n")
    assert '> """\n… How\n… \n… are you?\n… """\nIt is fine.\n\n> /stats\n' in result.stdout
    assert engine.asked[1][-1] == ("user", "How\n\nare you?")
    assert engine.seen_params[0].sampling.temperature == 0.5
    assert "\x1b" not in result.stdout
    assert engine.closed


def test_nothing_is_drawn_again_and_plain_text_comes_as_it_is(tmp_path: Path) -> None:
    engine = Talker(answers=[("a ", "**b** ", "\x1b[2J", "c")])
    assert play(tmp_path, "Hi", "--plain", engine=engine).stdout == "> Hi\na **b** \\x1b[2Jc\n\n"


def test_standard_input_may_be_the_script() -> None:
    result = invoke("chat", "--script", "-", stdin=b"Hi\n", engine=Talker())
    assert result.stdout == "> Hi\nBecause of Rayleigh scattering.\n\n"


def test_the_status_is_that_of_the_first_error_and_the_rest_is_played(tmp_path: Path) -> None:
    engine = Talker(refuses=[DecodeError("llama.cpp could not evaluate a batch")])
    result = play(tmp_path, "/undo\nHi\nAgain\n/nonsense\n", engine=engine)
    assert result.status == 2
    assert [len(conversation) for conversation in engine.asked] == [1, 1]
    for line in ("the conversation is empty", "could not evaluate a batch", "unknown command /nonsense"):
        assert line in result.stdout
    assert result.stderr.startswith("llamacli: error: the conversation is empty")
    assert play(tmp_path, "Hi", engine=Talker(refuses=[DecodeError("no")])).status == 7


def test_quit_and_a_model_that_cannot_be_loaded_end_it(tmp_path: Path) -> None:
    engine = Talker()
    assert play(tmp_path, "/quit\nHi\n", engine=engine).status == 0
    assert engine.asked == []
    result = play(tmp_path, "Hi\nHo\n", engine=FakeEngine(load_error=ModelFileError("demo.gguf is damaged")))
    assert result.status == 3
    assert "> Ho" not in result.stdout


def test_a_script_goes_on_with_a_session(tmp_path: Path) -> None:
    play(tmp_path, "Hi", "--session", "demo")
    engine = Talker()
    result = play(tmp_path, "And now?\n/branches\n", "--session", "demo", engine=engine)
    assert "session demo: 2 messages" in result.stdout
    assert [text for _, text in engine.asked[0]] == ["Hi", "Because of Rayleigh scattering.", "And now?"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("\n \n", "script.txt is empty"), ('Hi\n"""\nopen\n', 'script.txt:2: unterminated """ block')],
)
def test_scripts_that_make_no_sense(tmp_path: Path, text: str, says: str) -> None:
    result = play(tmp_path, text)
    assert result.status == 2
    assert says in result.stderr


def test_entries() -> None:
    assert read_script('a\n\n"""b"""\n"""\nc\n\nd\n"""\n/e f\n', "x") == ("a", '"""b"""', '"""\nc\n\nd\n"""', "/e f")
    with pytest.raises(UsageError):
        read_script("", "x")


def test_questions_of_tools_are_answered_by_the_next_line_or_by_no(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([LOOK]))
    arguments = ("--tools", str(tmp_path / "tools.json"))
    for line, results in (
        ("y", ["seen: a"]),
        ("n not now", ["[not run: the user does not allow it: not now]"]),
        ("next message", ["[not run: the user does not allow it]"]),
        ("yes, please", ["[not run: the user does not allow it]"]),
    ):
        engine = SceneEngine(answers=[called(place="a"), "Well.", "More."], calls=True)
        result = play(tmp_path, f"Hi\n{line}\n", *arguments, engine=engine)
        assert result.status == 0
        assert [message["content"] for message in engine.messages if message["role"] == "tool"] == results
        assert "run it? y(es), a(lways this tool), n(o) [REASON]: " in result.stdout


def test_the_program_plays_a_script_without_a_terminal(tmp_path: Path) -> None:
    scene = tmp_path / "scene.json"
    scene.write_text(json.dumps({"answers": ["| a | b |\n|---|---|\n| 1 | 2 |\n\nDone."]}))
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(PROGRAM).parent.parent)}
    command = [sys.executable, PROGRAM, str(scene), "chat", "--script", "-"]
    done = subprocess.run(command, input=b"Hi\n", env=environ, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stdout.decode().endswith("Done.\n\n")
    piped = subprocess.run(command[:-2], input=b"Hi\n", env=environ, capture_output=True, check=False, timeout=60)
    assert (piped.returncode, piped.stdout) == (2, b"")
    assert b"llamacli run" in piped.stderr


def test_a_mistake_of_ours_is_said_and_the_rest_is_played(tmp_path: Path) -> None:
    engine = Talker(refuses=[RuntimeError("broken")])
    result = play(tmp_path, "Hi\nHo\n", engine=engine)
    assert (result.status, len(engine.asked)) == (1, 2)
    assert "unexpected RuntimeError: broken (this is a bug" in result.stdout
    assert "unexpected RuntimeError: broken (this is a bug" in result.stderr


@pytest.mark.parametrize("number", ["99999999999999999999", "1" * 5000])
def test_numbers_may_be_of_any_length(tmp_path: Path, number: str) -> None:
    commands = [f"/{name} {number}" for name in ("load", "delete", "branch", "probs", "pick")]
    result = play(tmp_path, "\n".join(["Hi", *commands]), engine=Talker(logprob=-0.3))
    assert result.status == 2
    assert result.stdout.count(f"unknown session {number}") == 2
    assert "/branch needs a number from 1 to 1" in result.stdout
    assert result.stdout.count("expected a token number from 1 to 4") == 2
    result = play(tmp_path, "Hi", "--session", number)
    assert (result.status, f"unknown session {number}" in result.stderr) == (2, True)


def test_no_text_of_an_answer_is_lost(tmp_path: Path) -> None:
    answer = "Dear <name>, use List<String>, \\(x^2\\) and <script>.\n\n<div>\nhello\n</div>\n\n1. one\n3. three"
    shown = play(tmp_path, "Hi", engine=Talker(answers=[tuple(answer)])).stdout
    assert "Dear <name>, use List<String>, \\(x^2\\) and <script>.\n\n<div>\nhello\n</div>\n\n 1 one\n 3 three\n" in shown
