"""`run --url` with our own server at the other end: the same answers as in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Result, invoke
from serving import LiveServer, serving, spec_of

SCHEMA = '{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}'
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model, n_ctx=512)) as live:
        yield live


def ask(server: LiveServer, *arguments: str, **more: object) -> Result:
    return invoke("run", "--url", server.base, "-s", "1", *arguments, **more)  # type: ignore[arg-type]


def test_an_answer_is_that_of_the_engine_here(server: LiveServer, tiny_model: Path) -> None:
    from llamacli.cli.framework.context import open_engine

    words = ("-n", "12", "--temp", "0", "Hello")
    here = invoke(
        "run", "-s", "1", "-m", str(tiny_model), *words, open_engine=open_engine, find_model=lambda *a, **k: tiny_model
    )
    there = ask(server, *words)
    assert there.status == here.status == 0, there.stderr
    assert there.stdout == here.stdout
    assert there.stdout.strip()


def test_json_has_usage_logprobs_and_the_servers_timings(server: LiveServer) -> None:
    done = ask(server, "-n", "3", "--temp", "0", "--json", "--logprobs", "2", "Hello")
    document = json.loads(done.stdout)
    (choice,) = document["choices"]
    assert done.status == 0
    assert document["model"] == "tiny"
    assert document["usage"]["completion_tokens"] == 3
    assert document["timings"]["predicted_n"] == 3
    assert [len(one["top_logprobs"]) for one in choice["logprobs"]["content"]] == [2, 2, 2]
    assert choice["logprobs"]["content"][0]["id"] >= 0


def test_chunks_are_streamed(server: LiveServer) -> None:
    lines = ask(server, "-n", "3", "--stream-json", "Hello").stdout.splitlines()
    reasons = [json.loads(line)["choices"][0]["finish_reason"] for line in lines]
    assert reasons[-1] == "length"
    assert set(reasons[:-1]) == {None}


def test_samples_are_numbered_and_differ(server: LiveServer) -> None:
    done = ask(server, "-n", "8", "--temp", "2", "--samples", "3", "--json", "Hello")
    choices = json.loads(done.stdout)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in choices}) > 1


def test_a_raw_text_is_continued(server: LiveServer) -> None:
    done = ask(server, "--raw", "-n", "4", "--json", "Hello")
    assert json.loads(done.stdout)["object"] == "text_completion"


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        (("-j", SCHEMA), lambda text: set(json.loads(text)) == {"ok"}),
        (("--choices", "yes,no"), lambda text: text in ("yes", "no")),
        (("--regex", "[a-c]{3}"), lambda text: len(text) == 3 and set(text) <= set("abc")),
    ],
)
def test_a_constraint_is_the_servers_too(server: LiveServer, arguments: tuple[str, ...], fits: object) -> None:
    done = ask(server, *arguments, "-n", "40", "Hello")
    assert (done.status, done.stderr) == (0, "")
    assert fits(done.stdout.strip())  # type: ignore[operator]


def test_a_cut_answer_misses_its_schema(server: LiveServer) -> None:
    done = ask(server, "-j", SCHEMA, "-n", "2", "Hello")
    assert done.status == 5
    assert "cut by -n" in done.stderr


def test_a_required_tool_is_called(server: LiveServer, tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps(TOOLS))
    done = ask(server, "--tools", str(tools), "--tool-choice", "required", "-n", "80", "--json", "Hello")
    assert done.status == 0, done.stderr
    (call,) = json.loads(done.stdout)["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "now"


def test_every_sampler_reaches_a_server_that_has_it(server: LiveServer) -> None:
    done = ask(server, "--top-k", "1", "--min-p", "0", "--strict", "-n", "4", "-l", "a=-1", "Hello")
    assert (done.status, done.stderr) == (0, "")


def test_rows_keep_their_order_and_their_own_errors(server: LiveServer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"Row {number}", "max_tokens": 1 + number % 4} for number in range(30)]
    lines[7] = {"nothing": 1}
    rows.write_text("\n".join(map(json.dumps, lines)))
    done = invoke("run", "--url", server.base, "--temp", "0", "--input", str(rows))
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.status == 6
    assert len(results) == 30
    for number, result in enumerate(results):
        assert ("error" in result and result["error"] is not None) == (number == 7)
        if number != 7:
            body = result.get("response", {}).get("body", result)
            assert body["usage"]["completion_tokens"] == 1 + number % 4


def test_what_needs_the_model_here_is_refused(server: LiveServer, tmp_path: Path) -> None:
    for arguments in (("--dry-run",), ("--echo",), ("--save-state", str(tmp_path / "x"))):
        done = ask(server, *arguments, "Hello")
        assert done.status == 2
        assert "cannot be used with --url" in done.stderr


def test_a_keyed_server_gets_its_key_from_where_it_is(tiny_model: Path, tmp_path: Path) -> None:
    from llamacli.store.api_keys import ApiKey, digest_of

    key = "sk-" + "a" * 40
    (tmp_path / "key").write_text(key + "\n")
    with serving(spec_of(tiny_model, n_ctx=512), keys=(ApiKey(name="one", digest=digest_of(key)),)) as live:
        without = invoke("run", "--url", live.base, "Hello")
        wrong = invoke("run", "--url", live.base, "--debug", "-vv", "Hello", environ={"LLAMACLI_API_KEY": "sk-wrong-key"})
        given = [
            invoke("run", "--url", live.base, "-n", "2", "-vv", *arguments, "Hello", environ=environ)
            for arguments, environ in (
                ((), {"LLAMACLI_API_KEY": key}),
                (("--key", "env:MINE"), {"MINE": key, "LLAMACLI_API_KEY": "other"}),
                (("--key", f"file:{tmp_path / 'key'}"), {}),
            )
        ]
    assert without.status == wrong.status == 2
    assert "LLAMACLI_API_KEY" in without.stderr
    assert "sk-wrong-key" not in wrong.stderr + wrong.stdout
    assert [one.status for one in given] == [0, 0, 0]
    assert not any(key in one.stderr + one.stdout for one in given)
