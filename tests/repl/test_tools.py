"""Tools in a conversation: shown, checked, asked for, run, stopped, saved. The commands are real, the engine is not."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from chat_program import SceneEngine
from fakes import Result, invoke
from prompt_toolkit.application import create_app_session, get_app
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from talk import CTRL_C, CTRL_D, TERMINAL, plain
from tool_calls import LOOK, called

from llamacli.cli.framework.settings import settings
from llamacli.errors import UsageError
from llamacli.render.chat.tool_calls import FoldedOutput, format_call
from llamacli.render.text import escape_all

QUESTION = "run it?"


class Answering(DummyOutput):
    """The prompt's output. When it asks, the next of `answers` is typed, or Ctrl-C."""

    def __init__(self, source, answers: list[str]) -> None:
        self._source = source
        self._answers = answers
        self._text = ""
        self._asking: list[object] = []

    def write(self, data: str) -> None:
        self._text += data
        if QUESTION in self._text and get_app() not in self._asking:  # it is drawn more than once
            self._text = ""
            self._asking.append(get_app())
            self._source.send_text(self._answers.pop(0) if self._answers else CTRL_C)

    write_raw = write


def talk(
    tmp_path: Path, *answers: str, typed: str = "Hi\r", said: tuple[str, ...] = (), tools: object = (LOOK,), options=(), **more
) -> tuple[Result, SceneEngine]:
    """A conversation with tools. `answers` are the model's, `said` what the user answers to questions."""
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(tools))
    engine = SceneEngine(answers=list(answers), calls=True, **more)
    with create_pipe_input() as source, create_app_session(input=source, output=Answering(source, list(said))):
        source.send_text(typed + CTRL_C + CTRL_D)
        return invoke("chat", "--tools", str(file), *options, terminals=TERMINAL, engine=engine), engine


def test_a_call_is_shown_asked_for_run_and_its_result_given_to_the_model(tmp_path: Path) -> None:
    result, engine = talk(tmp_path, called(place="Paris"), "It is fine.", said=("y\r",))
    out = plain(result.stdout)
    assert result.status == 0
    assert 'tool look {"place": "Paris"}\n' in out
    assert "  this runs: " in out
    assert "  seen: Paris\n" in out
    assert "It is fine." in out
    roles = [message["role"] for message in engine.messages]
    assert roles == ["user", "assistant", "tool"]
    assert engine.messages[2] == {
        "role": "tool", "content": "seen: Paris", "name": "look", "tool_call_id": engine.messages[1]["tool_calls"][0]["id"],
    }  # fmt: skip
    assert [tool.name for tool in engine.rendering.tools] == ["look"]


def test_no_means_no_and_its_reason_is_told(tmp_path: Path) -> None:
    _, engine = talk(tmp_path, called(place="a"), called(place="b"), "Well.", said=("n\r", "no use the map\r"))
    assert [message["content"] for message in engine.messages if message["role"] == "tool"] == [
        "[not run: the user does not allow it]",
        "[not run: the user does not allow it: use the map]",
    ]


def test_always_asks_once_and_only_for_this_tool(tmp_path: Path) -> None:
    other = {"type": "function", "function": {"name": "other"}, "command": ["echo", "other ran"]}
    answers = (called(place="a"), called(place="b"), called("other"), "Done.")
    result, engine = talk(tmp_path, *answers, said=("a\r", "n\r"), tools=[LOOK, other])
    results = [message["content"] for message in engine.messages if message["role"] == "tool"]
    assert results == ["seen: a", "seen: b", "[not run: the user does not allow it]"]
    assert plain(result.stdout).count("  this runs: ") == 2


def test_allowed_tools_are_not_asked_for(tmp_path: Path) -> None:
    result, engine = talk(tmp_path, called(place="a"), "Done.", options=("--allow-tool", "look"))
    assert engine.messages[2]["content"] == "seen: a"
    assert "  this runs: " not in result.stdout


def test_an_unusable_tool_is_left_out_and_reported_once(tmp_path: Path) -> None:
    parameters = {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema.json"}}}
    odd = {"type": "function", "function": {"name": "odd", "parameters": parameters}, "command": ["true"]}
    result, engine = talk(tmp_path, "Hi.", "Hi again.", typed="Hi\rHi\r", tools=[LOOK, odd])
    assert (result.status, "Hi again." in result.stdout) == (0, True)
    assert [tool.name for tool in engine.rendering.tools] == ["look"]
    assert result.stderr.count("tool 2 (odd) is left out: ") == 1
    assert "https://example.com/schema.json" in result.stderr


def test_allowed_tools_must_be_there(tmp_path: Path, monkeypatch) -> None:
    result, engine = talk(tmp_path, "Hi.", options=("--allow-tool", "lok"))
    assert (result.status, engine.path) == (2, None)
    assert result.stderr == "llamacli: error: --allow-tool: unknown tool lok (did you mean look?)\n"
    result = invoke("chat", "--allow-tool", "look", terminals=TERMINAL)
    assert (result.status, "--tools FILE or --mcp FILE adds tools" in result.stderr) == (2, True)
    monkeypatch.setenv("LLAMACLI_ALLOW_TOOL", "lok")  # as in the settings, for whatever tools a conversation has
    assert talk(tmp_path, "Hi.")[0].status == 0


def test_allowed_tools_of_servers_must_be_there_when_they_have_started(tmp_path: Path) -> None:
    pytest.importorskip("mcp", reason="the mcp package is not installed")
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"missing": {"command": "/no/such/server"}}}))
    options = ("--mcp", str(file), "--allow-tool", "lok", "--allow-tool", "look")
    result, engine = talk(tmp_path, "Hi.", options=options)
    assert (result.status, len(engine.messages)) == (0, 1)
    out = plain(result.stdout)
    assert out.count("--allow-tool: unknown tool lok (did you mean look?)\n") == 1
    assert "unknown tool look" not in out


def test_what_was_typed_before_the_question_does_not_answer_it(tmp_path: Path) -> None:
    result, engine = talk(tmp_path, called(place="a"), "Well.", "Next.", typed="Hi\ry\r", said=("n\r",))
    assert result.status == 0
    assert engine.messages[2]["content"] == "[not run: the user does not allow it]"
    assert engine.messages[-1] == {"role": "user", "content": "y"}


def test_only_a_clear_answer_counts(tmp_path: Path) -> None:
    _, engine = talk(tmp_path, called(place="a"), "Well.", said=("\r", "yes please\r", "nope\r", "Yes\r"))
    assert engine.messages[2]["content"] == "seen: a"


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D])
def test_ctrl_c_at_the_question_stops_the_chain(tmp_path: Path, key: str) -> None:
    both = f"{called(place='a')}\n{called(place='b')}"
    result, engine = talk(tmp_path, both, "Well.", typed="Hi\rGo on\r", said=(key,))
    assert result.status == 0
    assert "[stopped]" in plain(result.stdout)
    assert [message["role"] for message in engine.messages] == ["user", "assistant", "tool", "tool", "user"]
    assert {message["content"] for message in engine.messages if message["role"] == "tool"} == {"[not run: the user stopped]"}


def test_ctrl_c_kills_the_command_and_the_conversation_stays_well_formed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = f"import os, time; print('begun', flush=True); open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    slow = {"type": "function", "function": {"name": "slow"}, "command": [sys.executable, "-c", program]}

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    started = time.monotonic()
    two = f"{called('slow')}\n{called('slow')}"
    result, engine = talk(tmp_path, two, "Well.", typed="Hi\rGo on\r", tools=[slow], options=("--allow-tool", "slow"))
    assert result.status == 0
    assert time.monotonic() - started < 40
    results = [message["content"] for message in engine.messages if message["role"] == "tool"]
    assert results == ["begun\n[stopped by the user]", "[not run: the user stopped]"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_chain_is_capped(tmp_path: Path) -> None:
    answers = [called(place=str(number)) for number in range(9)]
    result, engine = talk(tmp_path, *answers, options=("--allow-tool", "look", "--max-tool-calls", "2"), typed="Hi\rGo\r")
    out = plain(result.stdout)
    assert out.count("seen: ") == 4
    assert out.count("stopped after 2 tool calls for one message (--max-tool-calls)") == 2
    assert len(engine.answers) == 3
    assert [message["content"] for message in engine.messages[2:6:2]] == ["seen: 0", "seen: 1"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (called(place=3), "[not run: the arguments do not match the schema at #/place: 3 is not of type 'string']"),
        (called(), "[not run: the arguments do not match the schema at #: 'place' is a required property]"),
    ],
)
def test_arguments_that_do_not_fit_are_told_to_the_model_and_not_asked_for(tmp_path: Path, call: str, told: str) -> None:
    result, engine = talk(tmp_path, call, "Sorry.")
    assert [message["content"] for message in engine.messages if message["role"] == "tool"] in ([told], [])
    assert "  this runs: " not in result.stdout


def test_a_failing_command_is_told(tmp_path: Path) -> None:
    wrong = {**LOOK, "command": [sys.executable, "-c", "import sys; print('half'); print('why', file=sys.stderr); sys.exit(2)"]}
    result, engine = talk(tmp_path, called(place="a"), "Sorry.", tools=[wrong], said=("y\r",))
    assert engine.messages[2]["content"] == "half\n[exit status 2]\n[standard error]\nwhy"
    assert "  [exit status 2]\n  [standard error]\n  why\n" in plain(result.stdout)


def test_a_cut_call_is_no_call(tmp_path: Path) -> None:
    result, engine = talk(tmp_path, called(place="a"), "Well.", options=("-n", "13"), typed="Hi\rGo on\r")
    assert result.status == 0
    assert all("tool_calls" not in message for message in engine.messages)
    out = plain(result.stdout)
    assert 'tool look {"pl' in out
    assert "  not run: the call is incomplete\n" in out
    assert "[cut at the token limit]" in out


def test_long_results_are_folded_and_can_be_looked_at(tmp_path: Path) -> None:
    long = {**LOOK, "command": [sys.executable, "-c", "for i in range(30): print('row', i, 'x' * 200)"]}
    result, _ = talk(tmp_path, called(place="a"), "Well.", tools=[long], said=("y\r",), typed="Hi\r/tools last\r")
    out = plain(result.stdout)
    shown, _, last = out.partition("… 22 more rows: /tools last\n")
    assert "  row 7 xxx" in shown
    assert "row 8 " not in shown
    assert max(len(line) for line in shown.splitlines() if line.startswith("  row")) <= 80
    assert f"row 29 {'x' * 200}" in last


def test_sessions_keep_calls_and_results(tmp_path: Path) -> None:
    talk(tmp_path, called(place="Rome"), "Nice.", said=("y\r",))
    result, engine = talk(tmp_path, "Again.", typed="And?\r", options=("--continue",))
    assert "session 1: 4 messages" in plain(result.stdout)
    assert [message["role"] for message in engine.messages] == ["user", "assistant", "tool", "assistant", "user"]
    assert engine.messages[1]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"place": "Rome"}'}
    (tmp_path / "out.md").unlink(missing_ok=True)
    talk(tmp_path, typed=f"/export {tmp_path}/out.md\r", options=("--continue",))
    assert '## Assistant\n\nlook {"place": "Rome"}\n\n## Tool\n\nseen: Rome\n' in (tmp_path / "out.md").read_text()


def test_a_program_that_was_killed_in_a_call_leaves_a_conversation_that_goes_on(tmp_path: Path, monkeypatch) -> None:
    def killed(*_: object) -> None:
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr("llamacli.repl.conversation.call_screen.CallScreen.run", killed)
        with pytest.raises(SystemExit):
            talk(tmp_path, called(place="Rome"), said=("y\r",))
    result, engine = talk(tmp_path, "Sorry.", typed="And?\r", options=("--continue",))
    assert 'tool look {"place": "Rome"}' in plain(result.stdout)
    assert [message["role"] for message in engine.messages] == ["user", "assistant", "tool", "user"]


def test_the_tools_can_be_listed_and_switched(tmp_path: Path) -> None:
    keys = (
        "/tools\r/tools off look\r/tools on look\r/tools allow look\r/tools ask all\r/tools off fly\r/tools what\r/tools last\r"
    )
    out = plain(talk(tmp_path, typed=keys)[0].stdout)
    assert re.findall("(asks|off|runs) +look  Looks at a place.", out) == ["asks", "off", "asks", "runs", "asks"]
    assert "unknown tool fly (known: look)" in out
    assert "/tools needs on, off, allow or ask with names, call or last" in out
    assert "no tool was called yet" in out
    _, engine = talk(tmp_path, "Well.", typed="/tools off look\rHi\r")
    assert engine.rendering.tools == ()


def test_the_next_answer_can_be_made_to_call_a_tool(tmp_path: Path) -> None:
    asked = []
    engine_turn = SceneEngine.chat_turn

    def noting(self, messages, rendering, **more):
        asked.append((rendering.tool_choice, [tool.name for tool in rendering.tools]))
        return engine_turn(self, messages, rendering, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SceneEngine, "chat_turn", noting)
        typed = "/tools off look\r/tools call look\r/tools on look\r/tools call look\rHi\r"
        result, _ = talk(tmp_path, called(place="a"), "Well.", typed=typed, said=("y\r",))
    assert "the tool look is off (/tools on look)" in plain(result.stdout)
    assert asked == [("required", ["look"]), ("auto", ["look"])]


def test_a_template_that_knows_no_tools_is_said_once(tmp_path: Path) -> None:
    result, engine = talk(tmp_path, "One.", "Two.", typed="Hi\rHo\r", has_tools=False)
    assert plain(result.stdout).count("the chat template of this model does not support tools") == 1
    assert [tool.name for tool in engine.rendering.tools] == ["look"]
    result, engine = talk(tmp_path, "One.", typed="/tools call\rHi\r", has_tools=False)
    assert "the next answer calls a tool" in plain(result.stdout)
    assert engine.rendering.tool_choice == "required"
    held = '/grammar root ::= "a"\r/tools call\r'
    assert "answers that are constrained by a grammar cannot call tools (/grammar off)" in plain(
        talk(tmp_path, typed=held)[0].stdout
    )


def test_without_tools_nothing_changes() -> None:
    engine = SceneEngine(answers=["Hello."])
    with create_pipe_input() as source, create_app_session(input=source, output=DummyOutput()):
        source.send_text(f"/tools\rHi\r{CTRL_D}")
        result = invoke("chat", terminals=TERMINAL, engine=engine)
    assert "this conversation has no tools (llamacli chat --tools FILE or --mcp FILE adds some)" in " ".join(
        plain(result.stdout).split()
    )
    assert engine.rendering.tools == ()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[", "tools.json: invalid JSON at line 1, column 2"),
        ("[]", "tools.json: no tools found"),
        ('{"mcpServers": {}}', "--mcp"),
    ],
)
def test_files_with_mistakes_are_refused_before_a_model_is_loaded(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "tools.json").write_text(content)
    result = invoke("chat", "--tools", str(tmp_path / "tools.json"), terminals=TERMINAL)
    assert (result.status, result.engine.path) == (2, None)
    assert says in result.stderr
    assert invoke("chat", "--max-tool-calls", "-1", terminals=TERMINAL).status == 2


def test_a_project_may_not_name_tools(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in ('tools = "t.json"', 'mcp = "m.json"', 'allow-tool = ["look"]'):
        (tmp_path / ".llamacli.toml").write_text(f"[defaults]\n{line}\n")
        result = invoke("chat", terminals=TERMINAL)
        assert result.status == 2
        assert "cannot be set in a project's settings" in result.stderr
        assert "cannot be set in a project's settings" in invoke("config", "check").stdout
    assert all(settings.all_keys()[name].personal for name in settings.PERSONAL_KEYS)


# --- what cannot be seen ----------------------------------------------------------------------------------------------


def test_hidden_characters_in_arguments_are_marks(tmp_path: Path) -> None:
    hidden = "a\u202eb\u200bc\x1b[2Jd\u00ade\u3164f\U000e0041g\nh\u00a0i\ufe0fj"
    result, _ = talk(tmp_path, called(place=hidden), "Well.", said=("n\r",), options=("--color", "never"))
    line = next(line for line in result.stdout.splitlines() if line.startswith("tool look"))
    shown = line + result.stdout.split(line)[1].split("  this runs:")[0]
    expected = r"a\u202eb\u200bc\u001b[2Jd\u00ade\u3164f\udb40\udc41g\nh\u00a0i\ufe0fj"
    assert expected in shown.replace("\n", "")


def test_arguments_are_shown_whole_or_it_is_said() -> None:
    text = format_call("look", json.dumps({"a": "x" * 5000, "end": "here"}), 80)
    assert "characters; v shows them …]" in text
    assert "here" in text
    assert len(text) < 1600
    assert "x" * 5000 in format_call("look", json.dumps({"a": "x" * 5000}), 80, whole=True)
    assert format_call("look", '{"a":1}', 80) == 'look {"a": 1}'
    assert format_call("look", '{"a":1, "b": "c"}', 20) == 'look {\n  "a": 1,\n  "b": "c"\n}'
    assert format_call("look", "no json\x1b", 80) == "look no json\\u001b"


def test_letters_that_can_be_seen_stay() -> None:
    text = "größer 東京 🦙 résumé עברית"
    assert escape_all(text) == text
    assert escape_all("a\u200db") == "a\\u200db"


def test_rows_of_a_result_are_as_wide_as_the_terminal_and_steer_nothing() -> None:
    written: list[str] = []
    view = FoldedOutput(written.append, 20, color=False)
    for piece in ("ab\x1b[31mc\n", "wide 東京東京東京東京東京\n", "cr\r\nlone\rcr\ttab\n", "y" * 10_000, "\nrest"):
        view.add(piece)
    view.finish("hint")
    lines = "".join(written).splitlines()
    assert lines[0] == "  ab\\u001b[31mc"
    assert lines[1] == "  wide 東京東京東 …"
    assert lines[2:4] == ["  cr", "  lone\\rcr  tab"]
    assert lines[4] == "  " + "y" * 16 + "…"
    assert lines[5:] == ["  rest", "  … hint"]


def test_an_unknown_tool_is_refused_without_asking() -> None:
    from llamacli.tools.toolbox import Toolbox

    with pytest.raises(UsageError, match="unknown tool look"):
        Toolbox().check("look", "{}")
