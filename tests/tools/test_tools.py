"""The tools that chat runs: files that name them, what a call's arguments must be, and commands with all that can go wrong."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import pytest

import llamacli
from llamacli.engine.chat.message import Tool
from llamacli.errors import SchemaError, UsageError
from llamacli.tools.command import Command
from llamacli.tools.definitions import read_commands, read_servers
from llamacli.tools.outcome import Clip, Outcome, clipped
from llamacli.tools.toolbox import Offer, Toolbox

ENVIRON = {"PATH": os.environ["PATH"], "GREETING": "hello"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}


def entry(name: str = "look", **more) -> dict:
    return {"type": "function", "function": {"name": name}, "command": ["true"], **more}


def run(program: str, arguments: str = "{}", *, cancelled: threading.Event | None = None, **more) -> tuple[Outcome, str]:
    """The outcome of a Python program, and what it showed while it ran."""
    shown: list[str] = []
    command = Command(words=(sys.executable, "-c", program), environ=ENVIRON, **more)
    outcome = command.run(arguments, cancelled or threading.Event(), shown.append)
    return outcome, "".join(shown)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_gets_json_and_its_output_comes_back() -> None:
    program = "import json, os, sys; print(json.load(sys.stdin)['city'].upper(), os.environ['GREETING'])"
    outcome, shown = run(program, '{"city": "Zürich"}')
    assert outcome == Outcome("ZÜRICH hello\n")
    assert shown == "ZÜRICH hello\n"


def test_there_is_no_shell_and_no_terminal(tmp_path: Path) -> None:
    command = Command(words=("echo", "$HOME", ";", "rm", "*"), environ=ENVIRON, folder=tmp_path)
    assert command.run("{}", threading.Event(), lambda _: None).text == "$HOME ; rm *"
    outcome, _ = run("open('/dev/tty')")
    assert outcome.failed


def test_the_exit_status_and_standard_error_are_told() -> None:
    outcome, shown = run("import sys; print('half'); print('no such city', file=sys.stderr); sys.exit(3)")
    assert outcome == Outcome("half\n", "[exit status 3]\n[standard error]\nno such city", failed=True)
    assert outcome.text == "half\n[exit status 3]\n[standard error]\nno such city"
    assert shown == "half\n"
    assert run("import os; os.kill(os.getpid(), 9)")[0] == Outcome("", "[killed by signal 9]", failed=True)
    assert run("pass")[0].text == "[no output]"


def test_a_program_that_is_not_there_is_told() -> None:
    outcome = Command(words=("/no/such/program",), environ={}).run("{}", threading.Event(), lambda _: None)
    assert outcome == Outcome("", "[/no/such/program cannot be run: No such file or directory]", failed=True)
    outcome = Command(words=("true",), environ=ENVIRON, folder=Path("/no/such/folder")).run("{}", threading.Event(), print)
    assert outcome.failed


def test_large_arguments_that_nobody_reads_do_not_hang() -> None:
    text = json.dumps({"text": "x" * 1_000_000})
    assert run("import sys; print(len(sys.stdin.read()))", text)[0].text == str(len(text))
    assert run("print('done')", text)[0].text == "done"


def test_endless_output_takes_no_memory_and_ends_with_the_time() -> None:
    outcome, shown = run("import os\nwhile True: os.write(1, b'spam ' * 10000)", seconds=0.5)
    assert outcome.failed
    assert outcome.text.startswith("spam spam")
    assert "bytes left out" in outcome.text
    assert outcome.text.endswith("[stopped: it took longer than 0.5 seconds]")
    assert len(outcome.text) < 20_000
    assert len(shown) <= 64 << 10


@pytest.mark.parametrize("ignores", [False, True])
def test_stopping_kills_the_whole_group(tmp_path: Path, ignores: bool) -> None:
    child = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if ignores else ""
    program = f"{ignoring}import subprocess, sys; print('begun', flush=True)\nsubprocess.run([sys.executable, '-c', {child!r}])"
    cancelled = threading.Event()

    def stop() -> None:
        deadline = time.monotonic() + 20
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        cancelled.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    outcome, _ = run(program, cancelled=cancelled)
    stopper.join()
    assert outcome == Outcome("begun\n", "[stopped by the user]", failed=True)
    assert ended(int((tmp_path / "pid").read_text()))


def test_what_is_left_in_the_background_is_ended_with_the_command(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid)); print('done')"
    )
    started = time.monotonic()
    outcome, _ = run(program)
    assert outcome == Outcome("done\n")
    assert time.monotonic() - started < 20
    assert ended(int((tmp_path / "pid").read_text()))


def test_a_command_that_closes_its_output_is_waited_for() -> None:
    outcome, _ = run("import os, sys, time; print('a', flush=True); os.close(1); os.close(2); time.sleep(0.2); os._exit(4)")
    assert outcome == Outcome("a\n", "[exit status 4]", failed=True)


def ended(number: int) -> bool:
    """Whether a process that is not ours is gone, at most a moment from now. A zombie that nobody reaps is."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
        with contextlib.suppress(OSError):
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        time.sleep(0.02)
    return False


def test_the_middle_of_a_long_text_is_left_out() -> None:
    clip = Clip(4, 3)
    for data in (b"ab", b"cdef", b"ghijkl"):
        clip.add(data)
    assert clip.text() == "abcd\n[5 bytes left out]\njkl"
    assert clipped("short \ud800") == "short ?"
    euros = clipped("€" * 10_000)
    assert "\ufffd" not in euros
    assert len(euros.encode()) <= (16 << 10) + 30


# --- arguments --------------------------------------------------------------------------------------------------------


def box(*tools: Tool) -> Toolbox:
    return Toolbox(Offer(tool, "test", lambda *_: Outcome("")) for tool in tools)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('{"city": 3}', "the arguments do not match the schema at #/city: 3 is not of type 'string'"),
        ("{}", "at #: 'city' is a required property"),
        ('{"city": "a", "evil": 1}', "Additional properties are not allowed"),
        ("[]", "must be an object"),
        ('{"city": ', "invalid JSON"),
        ('{"city": NaN}', "NaN is not a JSON value"),
        ("[" * 100_000, "invalid JSON"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        box(Tool("look", parameters=CITY)).check("look", arguments)
    assert says in refused.value.message


def test_a_schema_never_fetches_anything() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema.json"}}}
    with pytest.raises(UsageError, match="cannot be checked"):
        box(Tool("look", parameters=schema)).check("look", '{"a": 1}')


def test_only_enabled_tools_are_called() -> None:
    tools = box(Tool("look"), Tool("go"))
    assert tools.check("look", "") == "{}"
    tools.switch("look", on=False)
    assert [tool.name for tool in tools.enabled] == ["go"]
    for name in ("look", "fly"):
        with pytest.raises(UsageError, match=f"unknown tool {name}; available tools: go"):
            tools.check(name, "{}")
    with pytest.raises(UsageError, match="unknown tool fly"):
        tools.switch("fly", on=True)
    with pytest.raises(UsageError, match="two tools are named go"):
        tools.add(box(Tool("go")).offers)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "no tools"),
        ({"mcpServers": {}}, "defines MCP servers, not commands (use --mcp instead)"),
        ([{"type": "function", "function": {"name": "look"}}], "tool 1 (look) has no command"),
        ([entry(command="ls")], "command must be a list of strings"),
        ([entry(command=[])], "has no command"),
        ([entry("a b")], "tool 1 (a b): a name must have 1 to 64 letters"),
        ([entry("x\u202e")], "tool 1 (?): a name must have 1 to 64 letters"),
        ([entry(timeout="1")], "timeout must be a number of seconds"),
        ([entry(timeout=0)], "timeout must be a number of seconds"),
        ([entry(timout=1)], "unknown key 'timout'"),
        ([entry(env={"A": 1})], "env must be an object of strings"),
        ([entry(cwd=1)], "cwd must be a string"),
        ([{**entry(), "function": {"name": "a", "parameters": {"type": "string"}}}], "must be a JSON schema of an object"),
        ([{**entry(), "function": {"name": "a", "parameters": {"properties": 3}}}], "are not a valid JSON schema"),
    ],
)
def test_lists_of_commands_with_mistakes(document: object, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_commands(document, Path("/folder"), {})
    assert says in str(refused.value)


def test_an_unusable_tool_is_left_out_with_its_reason() -> None:
    def check(tool: Tool) -> None:
        if tool.name == "wide":
            raise SchemaError("at #/properties/a: too wide")

    document = [entry("odd"), entry("wide"), entry("good")]
    document[0]["function"]["parameters"] = {"type": "array"}
    offers, problems = read_commands(document, Path("/"), {}, check=check)
    assert [offer.tool.name for offer in offers] == ["good"]
    assert problems == (
        "tool 1 (odd) is left out: its parameters must be a JSON schema of an object",
        "tool 2 (wide) is left out: at #/properties/a: too wide",
    )
    with pytest.raises(UsageError, match=r"no usable tools: tool 1 \(odd\) is left out: its parameters must be"):
        read_commands(document[:1], Path("/"), {}, check=check)


def test_programs_count_from_the_folder_of_the_file_and_run_in_the_current_one(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    program = tmp_path / "look"
    program.write_text('#!/bin/sh\necho "$(pwd) $1 $WHO"\n')
    program.chmod(0o755)
    (first, second), _ = read_commands(
        [entry("a", command=["./look", "x"], env={"WHO": "me"}), entry("b", command=["./look"], cwd="/")], tmp_path, ENVIRON
    )
    assert first.run("{}", threading.Event(), print).text == f"{tmp_path}/here x me"
    assert second.run("{}", threading.Event(), print).text == "/"
    assert first.origin == f"{program} x"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], 'object "mcpServers" not found'),
        ({"mcpServers": {}}, "no enabled servers"),
        ({"mcpServers": {"a": {"command": "x", "disabled": True}}}, "no enabled servers"),
        ({"mcpServers": {"a": {}}}, "server a needs a string 'url'"),
        ({"mcpServers": {"a": []}}, "server a must be an object"),
        ({"mcpServers": {"a b": {"command": "x"}}}, "a name must have 1 to 64 letters"),
        ({"mcpServers": {"a": {"type": "sse", "url": "http://x"}}}, "unknown transport 'sse'"),
        ({"mcpServers": {"a": {"url": "file:///etc/passwd"}}}, "not an http or https address"),
        ({"mcpServers": {"a": {"command": "x", "args": "y"}}}, "args must be a list of strings"),
        ({"mcpServers": {"a": {"url": "http://x", "headers": {"A": "${TOKEN}"}}}}, "variable TOKEN is not set"),
    ],
)
def test_lists_of_servers_with_mistakes(document: object, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_servers(document, Path("/folder"), {})
    assert says in str(refused.value)


def test_servers_are_read_as_other_programs_write_them() -> None:
    document = {
        "mcpServers": {
            "files": {"command": "npx", "args": ["-y", "${PACKAGE:-server}"], "env": {"A": "${B}"}, "alwaysAllow": ["rm"]},
            "own": {"command": "./serve"},
            "web": {"type": "http", "url": "https://${HOST}/mcp", "headers": {"Authorization": "Bearer ${B}"}, "timeout": 5},
        }
    }
    files, own, web = read_servers(document, Path("/folder"), {"B": "secret", "HOST": "example.com"})
    assert (files.command, files.environ) == (("npx", "-y", "server"), {"A": "secret"})
    assert own.command == ("/folder/serve",)
    assert (web.url, web.headers, web.seconds) == ("https://example.com/mcp", {"Authorization": "Bearer secret"}, 5)
    assert "secret" not in f"{files.origin} {web.origin}"


def test_the_examples_of_the_guide_are_valid() -> None:
    guide = (Path(llamacli.__file__).parent / "cli" / "help" / "guides" / "chat.md").read_text()
    commands, servers = re.findall(r"^```json\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)[:2]
    ((offer,), _) = read_commands(json.loads(commands), Path("/home/ann/tools"), {})
    assert f"this runs: {offer.origin}\n" in guide
    assert read_servers(json.loads(servers), Path("/"), {})[0].name == "files"
