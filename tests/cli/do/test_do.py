"""`llamacli do`: what is proposed, shown, asked and run. The engine knows its answers, the shell is real."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from chat_program import SceneEngine
from fakes import Result, invoke

from llamacli.cli.framework.console import Terminals

ASKING = Terminals(stdin=True, stderr=True)


def proposal(command: str, explanation: str = "Does it.") -> str:
    return json.dumps({"command": command, "explanation": explanation})


def do(*options: str, command: str = "echo done", typed: bytes | None = b"", more: tuple[str, ...] = (), **given) -> Result:
    """Asks for a command on a terminal where `typed` is typed, with a model that proposes `command` and then says `more`."""
    environ = {"PATH": os.environ["PATH"], "SHELL": "/bin/sh", "TERM": "dumb", **given.pop("environ", {})}
    engine = SceneEngine(answers=[proposal(command), *more])
    return invoke("do", *options, "do it", stdin=typed, engine=engine, environ=environ, **{"terminals": ASKING, **given})


def test_print_writes_the_command_alone_and_runs_nothing(tmp_path: Path) -> None:
    done = do("--print", command=f"touch {tmp_path}/x && rm y", terminals=Terminals())
    assert (done.status, done.stdout) == (0, f"touch {tmp_path}/x && rm y\n")
    assert done.stderr == "Does it.\ndeletes: rm\n"
    assert not (tmp_path / "x").exists()


def test_json_has_all_of_it() -> None:
    done = do("--json", command="sudo nosuch > x", terminals=Terminals())
    document = json.loads(done.stdout)
    assert (done.status, document["command"], document["explanation"]) == (0, "sudo nosuch > x", "Does it.")
    assert document["risks"] == [{"kind": "overwrites", "words": ["> x"]}, {"kind": "root", "words": ["sudo"]}]
    assert "nosuch" in document["missing"]
    assert document["usage"]["completion_tokens"] > 0


def test_the_model_is_asked_for_one_object_with_the_shell_and_the_system() -> None:
    done = do("--print", "--shell", "bash", "-sys", "Use long options.", terminals=Terminals())
    system, *_, last = done.engine.messages
    assert system["content"].startswith("You write command lines for bash on ")
    assert system["content"].endswith("\n\nUse long options.")
    assert last["content"] == "do it"
    assert "command" in done.engine.constraint.grammar
    assert "explanation" in done.engine.constraint.grammar
    assert done.engine.params.sampling.temperature == 0
    assert do("--print", "--temp", "0.5", terminals=Terminals()).engine.params.sampling.temperature == 0.5


def test_material_comes_before_the_task(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_text("a.txt\n")
    done = do("--print", "-f", str(file), typed=b"b.txt\n", terminals=Terminals())
    assert done.engine.messages[-1]["content"] == "a.txt\n\nb.txt\n\ndo it"


def test_a_prompt_template_gives_its_settings_and_its_prompt(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('system = "Be careful."\nprompt = "On {host}: {input}"\n[variables]\nhost = "a"\n[options]\ntemp = 0.25\n')
    done = do("--print", "-T", str(file), "--var", "host=b", terminals=Terminals())
    assert done.engine.messages[-1]["content"] == "On b: do it"
    assert done.engine.messages[0]["content"].endswith("\n\nBe careful.")
    assert done.engine.params.sampling.temperature == 0.25


@pytest.mark.parametrize(("typed", "status"), [(b"r\n", 0), (b"maybe\n\nYES\n", 0), (b"n\n", 1), (b"", 1), (b"q\n", 1)])
def test_nothing_runs_unasked(tmp_path: Path, typed: bytes, status: int) -> None:
    done = do(command=f"touch {tmp_path}/x", typed=typed)
    assert (done.status, (tmp_path / "x").exists()) == (status, status == 0)
    assert done.stderr.startswith(f"  touch {tmp_path}/x\nDoes it.\nr(un), e(dit), x (explain), n(o): ")
    assert ("llamacli: nothing was run" in done.stderr) == (status == 1)
    assert done.stdout == ""


@pytest.mark.parametrize(("command", "status"), [("exit 3", 3), ("kill -TERM $$", 143), ("nosuchprogram", 127), ("true", 0)])
def test_the_status_is_that_of_the_command(command: str, status: int) -> None:
    done = do(command=command, typed=b"r\n")
    assert done.status == status
    assert (f"llamacli: the command ended with status {status}" in done.stderr) == (status != 0)


def test_the_engine_is_closed_before_the_command_runs() -> None:
    done = do(typed=b"r\n")
    assert done.engine.closed


def test_an_explanation_is_written_and_it_asks_again() -> None:
    done = do(command="ls", typed=b"x\nn\n", more=("It lists\x1b[2J files.",))
    assert done.status == 1
    assert "It lists\\x1b[2J files.\n" in done.stderr
    assert done.stderr.count("r(un), e(dit)") == 2
    assert done.engine.messages[-1]["content"] == "ls"


def test_an_editor_changes_the_command_where_a_line_cannot_be_redrawn(tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f"#!/bin/sh\nprintf 'touch {tmp_path}/y\\n' > \"$1\"\n")
    editor.chmod(0o755)
    environ = {"EDITOR": str(editor)}
    done = do(command=f"rm {tmp_path}/x", typed=b"e\nr\n", environ=environ)
    assert (done.status, (tmp_path / "y").exists()) == (0, True)
    assert done.stderr.count("deletes: rm") == 1
    done = do(command="ls", typed=b"e\nn\n", environ={"EDITOR": "false"})
    assert "the editor false exited with status 1" in done.stderr
    assert "the command is unchanged" in done.stderr


HOSTILE = "echo \x1b]0;title\x07 a\u202eb\u200b\r\nrm x"


def test_hostile_characters_are_shown_as_marks() -> None:
    done = do(command=HOSTILE, typed=b"n\n")
    assert "\x1b" not in done.stderr
    assert "  echo \\u001b]0;title\\u0007 a\\u202eb\\u200b\\r\n  rm x\n" in done.stderr
    assert "has invisible characters: \\x1b, \\x07, \\u202e, \\u200b, \\r" in done.stderr
    assert "deletes: rm" in done.stderr
    document = json.loads(do("--json", command=HOSTILE, terminals=Terminals(stdout=True)).stdout)
    assert document["risks"][-1]["kind"] == "hidden"


def test_hostile_characters_are_not_printed() -> None:
    done = do("--print", command=HOSTILE, terminals=Terminals())
    assert (done.status, done.stdout) == (5, "")
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (proposal("   "), "the model proposes no command"),
        (proposal("a" * 600), "the proposed command is longer than 600 characters"),
        ('{"command": "ls"', "invalid JSON"),
        ('{"command": 3, "explanation": "x"}', "does not fit the schema at #/command"),
    ],
)
def test_what_is_no_proposal_is_status_5(answer: str, says: str) -> None:
    done = invoke("do", "--print", "x", stdin=b"", engine=SceneEngine(answers=[answer]))
    assert (done.status, done.stdout) == (5, "")
    assert says in done.stderr


@pytest.mark.parametrize("command", ["$ ls -l", "```sh\nls -l\n```"])
def test_a_prompt_sign_and_a_fence_are_no_part_of_the_command(command: str) -> None:
    assert do("--print", command=command, terminals=Terminals()).stdout == "ls -l\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("do", "x"), "do asks on a terminal before it runs anything (--print writes the command, --json a document)"),
        (("do", "--print", "--json", "x"), "--print cannot be used with --json"),
        (("do", "--print", "--shell", "nosuchshell", "x"), "--shell: nosuchshell is not found"),
        (("do", "--print"), "the prompt is empty"),
    ],
)
def test_wrong_command_lines(options: tuple[str, ...], says: str) -> None:
    done = invoke(*options, stdin=b"")
    assert (done.status, says in done.stderr) == (2, True), done.stderr


def test_the_shell_of_the_user_runs_it() -> None:
    done = do("--json", terminals=Terminals(), environ={"SHELL": "/no/such/shell"})
    assert json.loads(done.stdout)["shell"].rpartition("/")[2] in ("sh", "bash", "zsh", "dash", "fish")


def test_ctrl_c_is_for_the_command(tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        (tmp_path / "go").touch()

    threading.Thread(target=interrupt).start()
    wait = f"touch {ready}; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 4"
    assert do(command=wait, typed=b"r\n").status == 4
