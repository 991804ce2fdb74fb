"""Requests in the shapes that coding agents send, answered by the tiny model under the template of a family with tools."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from client_models import check, event_models
from openai.types.responses import ResponseStreamEvent

from llamacli.engine.engine import Engine
from llamacli.engine.params import ContextParams, SamplingParams
from llamacli.openai.messages.request import read_count
from llamacli.openai.messages.request import read_request as read_messages_request
from llamacli.openai.messages.stream import MessageStream
from llamacli.openai.responses.request import read_request
from llamacli.openai.responses.store import ResponseStore
from llamacli.openai.responses.stream import ResponseStream

ROOT = Path(__file__).parents[2]
AGENTS = ROOT / "tests" / "data" / "agents"
TEMPLATE = (ROOT / "vendor" / "llama.cpp" / "models" / "templates" / "Qwen-Qwen3-0.6B.jinja").read_text()


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[Engine]:
    with Engine(tiny_model, context=ContextParams(n_ctx=4096, threads=1)) as engine:
        yield engine


def requests(name: str) -> list[dict]:
    return json.loads((AGENTS / name).read_text())


@pytest.mark.parametrize("number", range(2))
def test_codex(engine: Engine, number: int) -> None:
    body = requests("codex.json")[number]
    request = read_request(body, SamplingParams(temperature=0), ResponseStore())
    turn = engine.render(dataclasses.replace(request.question, template=TEMPLATE))
    assert all(tool.name in turn.prompt.text for tool in request.tools.offered)
    if number == 1:
        assert "<tool_call>" in turn.prompt.text
        assert "1 failed: test_parse" in turn.prompt.text
    stream = ResponseStream(request, model="tiny")
    events = stream.begin()
    for event in engine.answer(turn, dataclasses.replace(request.generation.params, max_tokens=24)):
        events += stream.feed(event)
    models = event_models(ResponseStreamEvent)
    for event in events:
        check(models[event["type"]], event)
    assert events[-1]["type"] == f"response.{stream.response['status']}"
    assert stream.response["prompt_cache_key"] == body["prompt_cache_key"]


@pytest.mark.parametrize("number", range(3))
def test_claude_code(engine: Engine, number: int) -> None:
    request = read_messages_request(requests("claude_code.json")[number], SamplingParams(temperature=0))
    turn = engine.render(dataclasses.replace(request.question, template=TEMPLATE))
    assert "x-anthropic" not in turn.prompt.text
    if number == 1:
        assert "Error: no such file" in turn.prompt.text
    stream = MessageStream(request, model="tiny", prompt_tokens=len(turn.prompt.tokens))
    events = stream.begin()
    for event in engine.answer(turn, dataclasses.replace(request.generation.params, max_tokens=48)):
        events += stream.feed(event)
    models = event_models(RawMessageStreamEvent)
    for event in events:
        check(models[event["type"]], event)
    check(Message, stream.message)
    assert events[-1]["type"] == "message_stop"
    if number == 2:
        assert len(json.loads(stream.message["content"][0]["text"])["title"]) <= 20


@pytest.mark.parametrize("number", range(2))
def test_claude_code_counts(engine: Engine, number: int) -> None:
    question = read_count(requests("claude_code_count.json")[number])
    turn = engine.render(dataclasses.replace(question, template=TEMPLATE))
    assert len(turn.prompt.tokens) > 10
