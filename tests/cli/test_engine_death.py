"""What users see when the engine's process dies, or they want more of it than this system has."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import invoke
from talk import plain, talk
from tmux import Tmux, missing

from llamacli.backend.child.engine import ChildEngine
from llamacli.backend.child.sandbox import describe_sandbox
from llamacli.cli.framework import context
from llamacli.engine.events import Piece

ROOT = Path(__file__).resolve().parents[2]


def dying(after: int, times: int = 1) -> Callable[..., Any]:
    """Open engines whose process is killed after so many tokens of an answer, the first `times` answers."""
    left = itertools.count(times, -1)

    def opener(*arguments: Any, **options: Any) -> Any:
        engine = context.open_engine(*arguments, **options)
        assert isinstance(engine, ChildEngine)
        answer = engine.answer

        def watched(*given: Any, **more: Any) -> Any:
            kills = next(left) > 0
            for number, event in enumerate(answer(*given, **more)):
                yield event
                if kills and isinstance(event, Piece) and number >= after:
                    os.kill(engine.pid, signal.SIGABRT)

        engine.answer = watched  # type: ignore[method-assign]
        return engine

    return opener


def test_run_keeps_what_was_printed_and_says_why_it_ended(tiny_model: Path) -> None:
    result = invoke(
        "run", "-m", str(tiny_model), "-t", "1", "--raw", "--ignore-eos", "--context-shift", "Hello", open_engine=dying(5)
    )
    assert result.status == 7
    assert result.stdout
    assert result.stderr == (
        "llamacli: error: the engine died (SIGABRT) "
        f"(this model file is probably damaged: llamacli info --check {tiny_model})\n"
    )


@pytest.mark.parametrize(("deadly", "kills", "status"), [("row 4", 1, 0), ("row 0", 1, 0), ("row 4", 2, 6), ("row 0", 2, 6)])
def test_rows_go_on_after_a_death(tiny_model: Path, tmp_path: Path, deadly: str, kills: int, status: int) -> None:
    deaths: list[int] = []
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"row {number}"}) + "\n" for number in range(6)))

    def opener(*arguments: Any, **options: Any) -> Any:
        engine = context.open_engine(*arguments, **options)
        assert isinstance(engine, ChildEngine)
        render = engine.render

        def watched(question: Any) -> Any:
            if question.text == deadly:
                deaths.append(engine.pid)
            if question.text == deadly and len(deaths) <= kills:
                os.kill(engine.pid, signal.SIGSEGV)
            return render(question)

        engine.render = watched  # type: ignore[method-assign]
        return engine

    result = invoke("run", "-m", str(tiny_model), "-t", "1", "-n", "4", "--input", str(rows), open_engine=opener)
    assert result.status == status, result.stderr
    rows_out = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["row"] for row in rows_out] == list(range(6))
    failed = [row["error"]["message"] for row in rows_out if row.get("error")]
    assert [message.startswith("the engine died (SIGSEGV)") for message in failed] == [True] * (kills - 1)


def test_chat_goes_on_after_a_death(tiny_model: Path) -> None:
    result = talk(
        "Hello\r/retry\r/stats\r",
        *("-t", "1", "-n", "8"),
        open_engine=dying(2),
        find_model=lambda app, reference, *, offline: tiny_model,
    )
    shown = plain(result.stdout + result.stderr)
    assert result.status == 0, shown
    assert "the engine died (SIGABRT)" in shown
    assert "the model is loaded again" in shown


@pytest.mark.parametrize("command", ["run", "chat", "embed", "grammar allowed"])
def test_no_command_loads_the_native_library_in_the_users_process(
    command: str, tiny_model: Path, tiny_embedding_model: Path
) -> None:
    model = tiny_embedding_model if command == "embed" else tiny_model
    lines = {
        "run": ["run", "-m", str(model), "-n", "2", "Hello"],
        "chat": ["chat", "-m", str(model), "--script", "-", "-n", "2"],
        "embed": ["embed", "-m", str(model), "Hello"],
        "grammar allowed": ["grammar", "allowed", "json", "{", "-m", str(model)],
    }
    script = (
        "import sys; from llamacli.cli import main; status = main(sys.argv[1:]);"
        "maps = open('/proc/self/maps').read(); sys.exit(status or ('libllama' in maps or 'libggml' in maps))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *lines[command]], cwd=ROOT, input="Hello\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_sandbox_that_is_not_there_can_be_required(tiny_model: Path) -> None:
    lacks = describe_sandbox().missing
    arguments = ("run", "-m", str(tiny_model), "-t", "1", "-n", "1", "--sandbox", "require", "Hello")
    result = invoke(*arguments, open_engine=context.open_engine)
    assert (result.status, result.stderr) == (0, "") if not lacks else result.status == 7
    assert all(reason in result.stderr for reason in lacks)


@pytest.mark.parametrize(("given", "says"), [("1", "--engine-timeout must be from 2 to 86400 seconds"), ("x", "")])
def test_a_senseless_timeout_is_refused(tiny_model: Path, given: str, says: str) -> None:
    result = invoke("run", "-m", str(tiny_model), "--engine-timeout", given, "Hello")
    assert result.status == 2
    assert says in result.stderr


@pytest.mark.skipif(missing() is not None or shutil.which("bash") is None, reason="no tmux or bash")
def test_ctrl_z_stops_the_engine_as_well(tiny_model: Path, tmp_path: Path) -> None:
    with Tmux() as tmux:
        environ = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PS1": "shell> "}
        pane = tmux.start(["bash", "--norc", "--noprofile"], environ=environ)
        pane.wait("shell>")
        program = f"{sys.executable} -m llamacli run -m {tiny_model} -t 1 --raw --ignore-eos --context-shift Hello"
        written = tmp_path / "written.txt"
        pane.say(f"{program} | cat >{written}")
        wait_for(lambda: written.exists() and written.stat().st_size)
        child = wait_for(lambda: engine_of(tiny_model))
        pane.keys("C-z")
        pane.wait("Stopped")
        wait_for(lambda: state_of(child) == "T")
        pane.say("fg")
        wait_for(lambda: state_of(child) in "RS")
        pane.keys("C-c")
        wait_for(lambda: state_of(child) == "")


def wait_for(condition: Callable[[], Any], polls: int = 400) -> Any:
    for _ in range(polls):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("not in time")


def engine_of(model: Path) -> int | None:
    """The engine's process of a program that runs this model: it leads a session of its own."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            program = (Path("/proc") / fields[1] / "cmdline").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if fields[3] == entry.name and {b"llamacli", b"run", os.fsencode(model)} <= set(program):
            return int(entry.name)
    return None


def state_of(pid: int) -> str:
    """The state of a process as one letter, empty if it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
    return "" if state == "Z" else state
