"""`chat --url`: a conversation with the model of a server, its tools, and the way back to a model here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import Result, invoke
from odd_server import Script, answered, chunk, chunked, odd_server
from serving import serving, spec_of


def talk(address: str, script: str, tmp_path: Path, *arguments: str, **more: object) -> Result:
    file = tmp_path / "script"
    file.write_text(script)
    return invoke("chat", "--url", address, "--script", str(file), *arguments, **more)  # type: ignore[arg-type]


def test_the_conversation_is_sent_whole_each_time(tmp_path: Path) -> None:
    script = Script([answered("He", "llo"), answered("Bye")])
    with odd_server(script) as address:
        done = talk(address, "Hi\nSo long\n", tmp_path, "-sys", "Be brief.")
    assert done.status == 0, done.stderr
    assert "Hello" in done.stdout
    assert "Bye" in done.stdout
    assert done.stderr.count("warning") == 0
    assert [one["content"] for one in script.posts[1].document["messages"]] == ["Be brief.", "Hi", "Hello", "So long"]
    assert "logprobs" not in script.posts[0].document


def test_a_session_is_continued(tmp_path: Path) -> None:
    script = Script([answered("Hello"), answered("Bye")])
    with odd_server(script) as address:
        assert talk(address, "Hi\n", tmp_path).status == 0
        done = talk(address, "So long\n", tmp_path, "--continue")
    assert done.status == 0, done.stderr
    assert [one["content"] for one in script.posts[1].document["messages"]] == ["Hi", "Hello", "So long"]


def test_a_tool_that_the_server_calls_runs_here(tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([{"type": "function", "function": {"name": "now"}, "command": ["echo", "noon"]}]))
    call = {"index": 0, "id": "c1", "function": {"name": "now", "arguments": "{}"}}
    calls = f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'tool_calls': [call]}}]})}\n\n".encode()
    script = Script([chunked(calls, chunk(reason="tool_calls")), answered("It is noon.")])
    with odd_server(script) as address:
        done = talk(address, "What time is it?\n", tmp_path, "--tools", str(tools), "--allow-tool", "now")
    assert done.status == 0, done.stderr
    assert "It is noon." in done.stdout
    first, second = (post.document for post in script.posts)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["now"]
    result = second["messages"][-1]
    assert (result["role"], result["tool_call_id"], result["content"].strip()) == ("tool", "c1", "noon")


@pytest.mark.parametrize(
    ("command", "said"),
    [("/probs", "does not tell the probabilities"), ("/prompt", "rendered by the server"), ("/tokens a b", "has no /tokenize"),
     ("/context", "does not tell the size")],
)  # fmt: skip
def test_what_only_a_model_here_can_do_is_said(command: str, said: str, tmp_path: Path) -> None:
    with odd_server(Script([answered("Hello")])) as address:
        done = talk(address, f"Hi\n{command}\nAgain\n", tmp_path)
    assert said in done.stdout + done.stderr


def test_a_broken_answer_stays_and_the_conversation_goes_on(tmp_path: Path) -> None:
    script = Script([chunked(chunk("Half an"), ends=False), answered("Whole")])
    with odd_server(script) as address:
        done = talk(address, "Hi\n/retry\n", tmp_path)
    assert "Half an" in done.stdout
    assert "broke off" in done.stderr


def test_model_changes_between_a_server_and_here(tmp_path: Path, isolated_home: Path) -> None:
    settings = isolated_home / ".config" / "llamacli" / "config.toml"
    settings.parent.mkdir(parents=True)
    script = Script([answered("From there.")])
    with odd_server(script) as address:
        settings.write_text(f'[models.big]\nurl = "{address}"\n')
        file = tmp_path / "script"
        file.write_text("Hi\n/model big\nHi\n/model ./local.gguf\nHi\n")
        done = invoke("chat", "--script", str(file))
    assert done.status == 0, done.stderr
    parts = [done.stdout.find("Because"), done.stdout.find("From there."), done.stdout.rfind("Because")]
    assert parts == sorted(parts)
    assert -1 not in parts
    assert len(script.posts) == 1


def test_our_own_server_counts_tokens(tiny_model: Path, tmp_path: Path) -> None:
    with serving(spec_of(tiny_model, n_ctx=512)) as live:
        done = talk(live.base, "/tokens Hello there\nHi\n", tmp_path, "-n", "4")
    assert done.status == 0, done.stderr
    assert "tokens" in done.stdout
