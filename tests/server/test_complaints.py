"""What users of other servers complain about, as far as no other test is about it: each test names the complaint."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from serving import LiveServer, serving, spec_of

from llamacli.engine.embedding.embedder import Embedder
from llamacli.engine.events import Answer, Delta, Timings, Usage
from llamacli.openai.response import chat_choice, delta_json

TEMPLATES = Path(__file__).parents[2] / "vendor/llama.cpp/models/templates"
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"where": {"enum": ["up", "down"]}},
                "required": ["where"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("look", "go")
]
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    model = tiny.tiny_model(tmp_path_factory.mktemp("models") / "chat.gguf", context=4096)
    template = (TEMPLATES / "Qwen-Qwen2.5-7B-Instruct.jinja").read_text()
    with serving(spec_of(model, template=template, n_ctx=4096, parallel=1)) as live:
        yield live


def chat(server: LiveServer, **fields: Any) -> dict[str, Any]:
    reply = server.post("/v1/chat/completions", {"messages": HELLO, "seed": 4, "max_tokens": 400, **fields})
    assert reply.status == 200, reply.body
    return dict(reply.json())


def test_deltas_of_calls_have_an_index_and_begin_with_id_and_name(server: LiveServer) -> None:
    fields = {"messages": HELLO, "seed": 4, "max_tokens": 400, "tools": TOOLS, "tool_choice": "required", "stream": True}
    events = server.post("/v1/chat/completions", fields).events()
    deltas = [choice["delta"] for event in events[:-1] for choice in event["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert calls
    seen: set[int] = set()
    for call in calls:
        begins = call["index"] not in seen
        assert ("id" in call, call.get("type"), "name" in call["function"]) == (begins, "function" if begins else None, begins)
        seen.add(call["index"])


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"look", "go"}),
        ({"type": "function", "function": {"name": "go"}}, {"go"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "look"}}]},
            },
            {"look"},
        ),
        ("none", set()),
    ],
)
def test_the_choice_among_tools_is_enforced(server: LiveServer, choice: Any, names: set[str]) -> None:
    limit = 400 if names else 8
    for seed in range(3):
        (answer,) = chat(server, tools=TOOLS, tool_choice=choice, seed=seed, max_tokens=limit)["choices"]
        called = [call["function"]["name"] for call in answer["message"].get("tool_calls", ())]
        assert (set(called) <= names, bool(called)) == (True, bool(names)), answer


def test_reasoning_has_two_names_when_it_is_read_and_one_when_it_is_written(tiny_model: Path) -> None:
    template = "{% for m in messages %}{{ m.role }}({{ m.reasoning_content }}): {{ m.content }}\n{% endfor %}assistant:"
    with serving(spec_of(tiny_model, template=template)) as server:
        prompts = {
            server.post(
                "/apply-template", {"messages": [*HELLO, {"role": "assistant", "content": "ok", name: "hm"}, *HELLO]}
            ).json()["prompt"]
            for name in ("reasoning", "reasoning_content")
        }
    (prompt,) = prompts
    assert "assistant(hm): ok" in prompt
    answer = Answer(
        index=0, content="yes", reasoning_content="hm", finish_reason="stop", usage=Usage(1, 1), timings=Timings(1, 1.0, 1, 1.0)
    )  # fmt: skip
    assert chat_choice(answer, "stop")["message"]["reasoning_content"] == "hm"
    assert delta_json(Delta(reasoning_content="hm")) == {"reasoning_content": "hm"}


def test_a_text_to_embed_may_be_longer_than_a_micro_batch(tmp_path: Path) -> None:
    model = tiny.tiny_model(tmp_path / "m.gguf", context=2048, embedding=True)
    spec = spec_of(model)
    small = dataclasses.replace(spec, context=dataclasses.replace(spec.context, n_batch=64, n_ubatch=32))
    text = "once upon a time " * 100
    with serving(small) as server, Embedder(model) as embedder:
        reply = server.post("/v1/embeddings", {"input": text})
        assert reply.status == 200, reply.body
        assert reply.json()["usage"]["prompt_tokens"] > 300
        ((expected,),) = (outcome.vectors for outcome in embedder.embed([text]))
        assert np.allclose(reply.json()["data"][0]["embedding"], expected, atol=1e-5)
        longer = server.post("/v1/embeddings", {"input": text * 10})
        assert (longer.status, longer.error["code"]) == (400, "context_length_exceeded")


def test_the_context_size_is_that_of_each_conversation(tiny_model: Path) -> None:
    body = {"prompt": [5] * 200, "max_tokens": 50, "ignore_eos": True}
    with serving(spec_of(tiny_model, n_ctx=256, parallel=4)) as server, ThreadPoolExecutor(4) as threads:
        assert server.get("/v1/models/tiny").json()["meta"]["n_ctx"] == 256
        replies = list(threads.map(lambda _: server.post("/v1/completions", body), range(4)))
    assert [reply.json()["usage"]["total_tokens"] for reply in replies] == [250] * 4


def test_no_address_in_a_request_is_fetched(server: LiveServer) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/picture.png"
        content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
        reply = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": content}]})
        assert 400 <= reply.status < 500
        bound.setblocking(False)
        with pytest.raises(BlockingIOError):
            bound.accept()


def test_a_question_in_between_costs_a_conversation_none_of_its_prompt(server: LiveServer) -> None:
    messages = [{"role": "user", "content": "one two three four five six seven eight nine ten " * 5}]
    first = chat(server, messages=messages, max_tokens=4)["usage"]["prompt_tokens"]
    chat(server, messages=[{"role": "user", "content": "Title, please"}], max_tokens=4)  # the only slot is the other's now
    assert chat(server, messages=messages, max_tokens=4)["usage"]["prompt_tokens_details"]["cached_tokens"] > first - 16
