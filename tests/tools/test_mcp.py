"""MCP servers as tools: real servers in processes of their own, over standard streams and over HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import invoke
from talk import TERMINAL

from llamacli.cli.framework.inputs.tools import check_parameters
from llamacli.errors import UsageError
from llamacli.tools import servers as servers_module
from llamacli.tools.definitions import read_servers
from llamacli.tools.outcome import Outcome
from llamacli.tools.servers import Servers
from llamacli.tools.toolbox import Toolbox

pytest.importorskip("mcp", reason="the mcp package is not installed")

PROGRAM = str(Path(__file__).parents[1] / "support" / "mcp_program.py")
STDIO = {"command": sys.executable, "args": [PROGRAM, "stdio"], "env": {"SECRET": "known"}}


@contextlib.contextmanager
def running(entries: dict) -> Iterator[tuple[Servers, Toolbox]]:
    """Servers that were started, and a box with their tools."""
    servers = Servers(read_servers({"mcpServers": entries}, Path("/"), {}), check=check_parameters)
    servers.start()
    try:
        yield servers, Toolbox(servers.wait())
    finally:
        servers.close()


def call(box: Toolbox, name: str, cancelled: threading.Event | None = None, **arguments) -> Outcome:
    text = box.check(name, json.dumps(arguments))
    return box.find(name).run(text, cancelled or threading.Event(), lambda _: None)


@pytest.fixture(scope="module")
def box() -> Iterator[Toolbox]:
    with running({"t": STDIO}) as (servers, box):
        assert servers.problems == []
        yield box


def test_tools_are_listed_under_the_name_of_their_server(box: Toolbox) -> None:
    assert [tool.name for tool in box.enabled] == [
        f"t__{name}" for name in ("add", "fail", "much", "look", "wait", "leave", "picture")
    ]
    add = box.find("t__add")
    assert add.tool.description == "Adds two numbers."
    assert set(add.tool.parameters["properties"]) == {"a", "b"}
    assert PROGRAM in add.origin


def test_a_call_brings_text_back(box: Toolbox) -> None:
    assert call(box, "t__add", a=2, b=3) == Outcome("2 + 3 = 5")
    assert call(box, "t__picture").output == "a cat\n[image, image/png: only text is supported]"


def test_a_failure_is_told(box: Toolbox) -> None:
    outcome = call(box, "t__fail")
    assert outcome.failed
    assert "it never works" in outcome.output
    assert outcome.note == "[the tool reported an error]"
    with pytest.raises(UsageError, match="do not match the schema"):
        call(box, "t__add", a="two", b=3)


def test_a_long_result_is_clipped(box: Toolbox) -> None:
    outcome = call(box, "t__much")
    assert len(outcome.output) < 20_000
    assert "bytes left out" in outcome.output


def test_a_server_gets_its_own_environment_and_not_ours(box: Toolbox, monkeypatch) -> None:
    assert call(box, "t__look", variable="SECRET").output == "known"
    monkeypatch.setenv("PRIVATE", "ours")
    assert call(box, "t__look", variable="PRIVATE").output == "not set"
    assert call(box, "t__look", variable="PYTEST_CURRENT_TEST").output == "not set"


def test_a_call_can_be_stopped_and_one_that_takes_too_long_ends(tmp_path: Path) -> None:
    with running({"t": {**STDIO, "timeout": 0.5}}) as (_, box):
        outcome = call(box, "t__wait", path=str(tmp_path / "a"))
        assert outcome.failed
        assert "imed out" in outcome.note
    with running({"t": STDIO}) as (_, box):
        cancelled = threading.Event()

        def stop() -> None:
            deadline = time.monotonic() + 20
            while not (tmp_path / "b").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            cancelled.set()

        threading.Thread(target=stop).start()
        assert call(box, "t__wait", cancelled, path=str(tmp_path / "b")) == Outcome("", "[stopped by the user]", failed=True)


def test_a_server_that_ends_is_told() -> None:
    with running({"t": STDIO}) as (_, box):
        assert call(box, "t__leave").failed
        assert call(box, "t__add", a=1, b=1).failed


def test_a_server_that_does_not_work_leaves_the_others(monkeypatch) -> None:
    monkeypatch.setattr(servers_module, "START_SECONDS", 5.0)
    entries = {
        "missing": {"command": "/no/such/server"},
        "dying": {"command": sys.executable, "args": ["-c", "import sys; sys.exit('the key is missing')"]},
        "web": {"url": f"http://127.0.0.1:{free_port()}/mcp"},
        "t": STDIO,
    }
    with running(entries) as (servers, box):
        assert {tool.name.partition("__")[0] for tool in box.enabled} == {"t"}
        problems = "\n".join(servers.problems)
        for name in ("missing", "dying", "web"):
            assert f"MCP server {name} failed: " in problems
        assert "No such file" in problems
        assert "(last line on its standard error: the key is missing)" in problems


def test_an_unusable_tool_is_left_out_and_reported_once() -> None:
    with running({"t": {**STDIO, "args": [PROGRAM, "stdio", "odd"]}}) as (servers, box):
        assert "t__odd" not in [tool.name for tool in box.enabled]
        assert call(box, "t__add", a=1, b=2).output == "1 + 2 = 3"
        assert len(servers.wait()) == len(box)
        (problem,) = servers.problems
        assert problem.startswith("tool t__odd of MCP server t is left out: ")
        assert "https://example.com/schema.json" in problem


def test_servers_end_with_the_conversation() -> None:
    with running({"t": STDIO}) as (servers, _):
        pass
    assert not servers._thread.is_alive()
    assert Servers(()).close() is None


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_streamable_http() -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, PROGRAM, "http", str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            with running({"web": {"type": "http", "url": f"http://127.0.0.1:{port}/mcp"}}) as (servers, box):
                assert servers.problems == []
                assert call(box, "web__add", a=20, b=22).output == "20 + 22 = 42"
        finally:
            process.kill()


def test_the_file_is_checked_before_anything_starts(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {}}}')
    result = invoke("chat", "--mcp", str(file), terminals=TERMINAL)
    assert (result.status, result.engine.path) == (2, None)
    assert f"{file}: server a needs a string 'url'" in result.stderr
    file.write_text(json.dumps({"mcpServers": {"t": STDIO}}))
    monkeypatch.setattr(servers_module.importlib.util, "find_spec", lambda name: None)
    result = invoke("chat", "--mcp", str(file), terminals=TERMINAL)
    assert result.status == 2
    assert "pip install 'llamacli[mcp]'" in result.stderr
