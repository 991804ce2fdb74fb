"""The requests of coding agents, replayed against a live server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from serving import LiveServer, serving, spec_of

ROOT = Path(__file__).parents[2]
AGENTS = ROOT / "tests" / "data" / "agents"
TEMPLATE = (ROOT / "vendor/llama.cpp/models/templates/Qwen-Qwen3-0.6B.jinja").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    model = tiny.tiny_model(tmp_path_factory.mktemp("models") / "agent.gguf", context=8192)
    with serving(spec_of(model, template=TEMPLATE, n_ctx=8192)) as live:
        yield live


@pytest.mark.parametrize(
    ("name", "path", "limit", "last"),
    [
        ("codex.json", "/v1/responses", "max_output_tokens", "response.incomplete"),
        ("claude_code.json", "/v1/messages", "max_tokens", "message_stop"),
    ],
)
def test_an_agent_gets_its_events(server: LiveServer, name: str, path: str, limit: str, last: str) -> None:
    for body in json.loads((AGENTS / name).read_text()):
        reply = server.post(path, {**body, "model": "agent", "temperature": 0, limit: 8}, headers={"x-api-key": "any"})
        assert reply.status == 200, reply.body
        if body.get("stream"):
            assert reply.events()[-1]["type"] == last
            lines = reply.body.decode().splitlines()
            named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
            assert named == [event["type"] for event in reply.events()]


def test_an_agent_may_count(server: LiveServer) -> None:
    documents = json.loads((AGENTS / "claude_code_count.json").read_text())
    for body in documents if isinstance(documents, list) else [documents]:
        counted = server.post("/v1/messages/count_tokens", {**body, "model": "agent"})
        assert counted.status == 200, counted.body
        assert counted.json()["input_tokens"] > 10
