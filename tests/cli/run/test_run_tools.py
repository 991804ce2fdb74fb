"""`run --run-tools`: the tools that the model calls run, and only its last answer is for standard output."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from chat_program import SceneEngine
from fakes import Result, invoke
from tool_calls import LOOK, called

from llamacli.cli.framework.console import Terminals

FAIL = {"type": "function", "function": {"name": "fail"}, "command": ["false"]}
ASKING = Terminals(stdin=True, stderr=True)


def ask(
    tmp_path: Path, *answers: str, options: tuple[str, ...] = ("--allow-tool", "look"), stdin: bytes | None = b"", **more
) -> tuple[Result, SceneEngine]:
    """A run with tools whose model says `answers`."""
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([LOOK, FAIL]))
    engine = SceneEngine(answers=list(answers), calls=True)
    done = invoke("run", "--tools", str(file), "--run-tools", *options, "Hi", stdin=stdin, engine=engine, **more)
    return done, engine


def results(engine: SceneEngine) -> list[str]:
    return [message["content"] for message in engine.messages if message["role"] == "tool"]


def test_the_tools_run_and_the_last_answer_alone_is_on_standard_output(tmp_path: Path) -> None:
    done, engine = ask(tmp_path, f"Let me look.\n{called(place='Paris')}", called(place="Rome"), "It is fine.")
    assert (done.status, done.stdout) == (0, "It is fine.\n")
    assert results(engine) == ["seen: Paris", "seen: Rome"]
    assert [message["role"] for message in engine.messages] == ["user", "assistant", "tool", "assistant", "tool"]
    lines = done.stderr.splitlines()
    assert lines[0] == "llamacli: without a terminal to ask on, only tools of --allow-tool are offered, not fail"
    assert lines[1:] == [
        "Let me look.", 'tool look {"place": "Paris"}', "  seen: Paris", 'tool look {"place": "Rome"}', "  seen: Rome",
    ]  # fmt: skip
    assert [tool.name for tool in engine.rendering.tools] == ["look"]


def test_json_has_the_calls_the_results_and_all_tokens(tmp_path: Path) -> None:
    done, _ = ask(tmp_path, called(place="Paris"), "It is fine.", options=("--allow-tool", "look", "--json"))
    document = json.loads(done.stdout)
    assert document["choices"][0]["message"]["content"] == "It is fine."
    assert document["choices"][0]["finish_reason"] == "stop"
    assert [message["role"] for message in document["messages"]] == ["assistant", "tool"]
    assert document["messages"][0]["tool_calls"][0]["id"] == document["messages"][1]["tool_call_id"]
    pieces = -(-len(called(place="Paris")) // 4) + -(-len("It is fine.") // 4)
    assert document["usage"]["completion_tokens"] == document["timings"]["predicted_n"] == pieces


@pytest.mark.parametrize("schema", [(), ("-j", '{"type": "integer"}')])
def test_streamed_json_has_each_answer_and_each_result(tmp_path: Path, schema: tuple[str, ...]) -> None:
    options = ("--allow-tool", "look", "--stream-json", *schema)
    done, _ = ask(tmp_path, called(place="Paris"), *(["Well."] if schema else []), "42", options=options)
    assert done.status == 0, done.stderr
    chunks = [json.loads(line) for line in done.stdout.splitlines()]
    ends = [one["finish_reason"] for chunk in chunks for one in chunk["choices"] if one["finish_reason"]]
    assert ends == ["tool_calls", "stop"]
    assert [chunk["tool_result"]["content"] for chunk in chunks if not chunk["choices"]] == ["seen: Paris"]
    texts = [one["delta"].get("content", "") for chunk in chunks for one in chunk["choices"]]
    assert "".join(texts) == "42"


def test_a_schema_is_for_the_last_answer_which_is_generated_for_it(tmp_path: Path) -> None:
    options = ("--allow-tool", "look", "-j", '{"type": "integer"}')
    done, engine = ask(tmp_path, called(place="Paris"), "It has 21 degrees.", "21", options=options)
    assert (done.status, done.stdout) == (0, "21\n")
    assert "It has 21 degrees." in done.stderr
    assert (engine.rendering.tool_choice, "integer" in engine.constraint.grammar) == ("none", True)
    assert engine.messages[-1]["role"] == "tool"
    done, _ = ask(tmp_path, "Well.", "many", options=(*options, "--json"))
    assert (done.status, json.loads(done.stdout)["choices"][0]["message"]["content"]) == (5, "many")


@pytest.mark.parametrize(("most", "ran"), [("0", 0), ("2", 2)])
def test_too_many_calls_are_status_8(tmp_path: Path, most: str, ran: int) -> None:
    answers = [called(place=str(number)) for number in range(5)]
    done, engine = ask(tmp_path, *answers, options=("--allow-tool", "look", "--max-tool-calls", most))
    assert (done.status, done.stdout) == (8, "")
    assert f"error: stopped after {ran} tool calls (--max-tool-calls N allows more of them)" in done.stderr
    assert len(results(engine)) == ran
    done, _ = ask(tmp_path, *answers, options=("--allow-tool", "look", "--max-tool-calls", most, "--json"))
    assert done.status == 8
    document = json.loads(done.stdout)
    assert document["choices"][0]["finish_reason"] == "tool_calls"
    assert document["messages"][-1]["content"] == "[not run: too many calls]"


def test_a_tool_that_fails_is_for_the_model_to_deal_with(tmp_path: Path) -> None:
    done, engine = ask(
        tmp_path, called("fail"), called(place=3), "Sorry.", options=("--allow-tool", "fail", "--allow-tool", "look")
    )
    assert (done.status, done.stdout) == (0, "Sorry.\n")
    failed, refused = results(engine)
    assert failed == "[exit status 1]"
    assert refused.startswith("[not run: the arguments do not match the schema")
    assert "  [exit status 1]\n" in done.stderr


def test_without_a_terminal_a_tool_must_be_allowed(tmp_path: Path) -> None:
    done, engine = ask(tmp_path, "Hi.", options=())
    assert (done.status, engine.path) == (2, None)
    assert "no tool may run (--allow-tool NAME allows one: look, fail)" in done.stderr


@pytest.mark.parametrize(
    ("typed", "result"),
    [
        (b"y\n", "seen: Paris"),
        (b"maybe\nyes\n", "seen: Paris"),
        (b"n use a map\n", "[not run: the user does not allow it: use a map]"),
    ],
)
def test_on_a_terminal_it_asks(tmp_path: Path, typed: bytes, result: str) -> None:
    done, engine = ask(tmp_path, called(place="Paris"), "Fine.", options=("--no-stdin",), stdin=typed, terminals=ASKING)
    assert done.status == 2  # --no-stdin: nobody is there
    done, engine = ask(tmp_path, called(place="Paris"), "Fine.", options=(), stdin=typed, terminals=ASKING)
    assert (done.status, done.stdout) == (0, "Fine.\n")
    assert results(engine) == [result]
    assert "  this runs: " in done.stderr


def test_end_of_input_at_the_question_stops_everything(tmp_path: Path) -> None:
    done, _ = ask(tmp_path, called(place="Paris"), "Fine.", options=(), stdin=b"", terminals=ASKING)
    assert (done.status, done.stdout) == (130, "")
    assert "[stopped]" in done.stderr


def test_text_streams_on_a_terminal(tmp_path: Path) -> None:
    terminals = Terminals(stdin=True, stdout=True, stderr=True)
    answers = (f"Let me look.\n{called(place='Paris')}", "It is fine.")
    done, _ = ask(tmp_path, *answers, options=("--allow-tool", "look"), terminals=terminals, environ={"TERM": "dumb"})
    assert done.stdout == "Let me look.\nIt is fine.\n"


def test_only_the_code_of_the_last_answer_is_extracted(tmp_path: Path) -> None:
    answers = (f"```\nno\n```\n{called(place='Paris')}", "Here:\n```\nls\n```\n")
    done, _ = ask(tmp_path, *answers, options=("--allow-tool", "look", "-x"))
    assert (done.status, done.stdout) == (0, "ls\n")


def test_a_required_call_is_required_once(tmp_path: Path) -> None:
    options = ("--allow-tool", "look", "--allow-tool", "fail", "--tool-choice", "look")
    done, engine = ask(tmp_path, called(place="Paris"), "Fine.", options=options)
    assert done.status == 0, done.stderr
    assert (engine.rendering.tool_choice, [tool.name for tool in engine.rendering.tools]) == ("auto", ["look", "fail"])


def test_the_log_keeps_the_calls_and_goes_on_after_them(tmp_path: Path) -> None:
    ask(tmp_path, called(place="Paris"), "It is fine.", options=("--allow-tool", "look", "--log"))
    listed = json.loads(invoke("log", "list", "--json").stdout)
    assert listed[0]["prompt"] == "Hi"
    again = invoke("run", "-C", "And now?", engine=SceneEngine())
    roles = [message["role"] for message in again.engine.messages]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


def test_ctrl_c_kills_the_command(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    slow = {"type": "function", "function": {"name": "slow"}, "command": [sys.executable, "-c", program]}
    (tmp_path / "slow.json").write_text(json.dumps([slow]))

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    engine = SceneEngine(answers=[called("slow")], calls=True)
    options = ("--tools", str(tmp_path / "slow.json"), "--run-tools", "--allow-tool", "slow")
    done = invoke("run", *options, "Hi", stdin=b"", engine=engine)
    assert (done.status, done.stdout) == (130, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--run-tools",), "--run-tools needs tools (--tools FILE or --mcp FILE adds some)"),
        (("--mcp", "x.json"), "--mcp needs --run-tools"),
        (("--allow-tool", "look"), "--allow-tool needs --run-tools"),
        (("--max-tool-calls", "3"), "--max-tool-calls needs --run-tools"),
        (("--tools", "{}", "--run-tools", "--samples", "2"), "--samples cannot be used with --run-tools"),
        (("--tools", "{}", "--run-tools", "--raw"), "--raw cannot be used with --run-tools"),
        (("--tools", "{}", "--run-tools", "--echo"), "--echo cannot be used with --run-tools"),
        (("--tools", "{}", "--run-tools", "--input", "rows.jsonl"), "--run-tools cannot be used with --input"),
        (("--tools", "{}", "--run-tools"), "tool 1 (look) has no command"),
        (("--tools", "{}", "--run-tools", "--allow-tool", "lok"), "unknown tool lok"),
    ],
)
def test_what_cannot_be_used_together(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([LOOK if "lok" in options else {key: LOOK[key] for key in ("type", "function")}]))
    done = invoke("run", *(str(file) if word == "{}" else word for word in options), "Hi", stdin=b"")
    assert (done.status, says in done.stderr) == (2, True), done.stderr


def test_settings_about_tools_do_not_run_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMACLI_ALLOW_TOOL", "look")
    file = tmp_path / "tools.json"
    file.write_text(json.dumps([LOOK]))
    engine = SceneEngine(answers=[called(place="Paris")], calls=True)
    done = invoke("run", "--tools", str(file), "Hi", stdin=b"", engine=engine, environ={"LLAMACLI_ALLOW_TOOL": "look"})
    assert (done.status, "tool_calls" in done.stdout, "seen" in done.stderr) == (0, True, False)


def test_tools_of_mcp_servers_run(tmp_path: Path) -> None:
    pytest.importorskip("mcp", reason="the mcp package is not installed")
    program = str(Path(__file__).parents[2] / "support" / "mcp_program.py")
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"one": {"command": sys.executable, "args": [program, "stdio"]}}}))
    shown = invoke("run", "--mcp", str(file), "--run-tools", "Hi", stdin=b"")
    assert shown.status == 2
    name = shown.stderr.partition("allows one: ")[2].partition(",")[0].strip(" )\n")
    engine = SceneEngine(answers=[called(name), "Done."], calls=True)
    done = invoke("run", "--mcp", str(file), "--run-tools", "--allow-tool", name, "Hi", stdin=b"", engine=engine)
    assert (done.status, done.stdout) == (0, "Done.\n")
    assert len(results(engine)) == 1
