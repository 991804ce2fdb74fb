"""Requests side by side: nobody waits for another's prompt, and nobody's answer depends on the others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import tiny
from serving import LiveServer, serving, spec_of, wait_for

TEXT = "/v1/completions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    model = tiny.tiny_model(tmp_path_factory.mktemp("models") / "long.gguf", context=32768)
    with serving(spec_of(model, n_ctx=16384)) as live:
        yield live


def test_a_long_prompt_stops_a_running_stream_for_two_steps_at_most(server: LiveServer) -> None:
    lines: list[bytes] = []
    begun, done = threading.Event(), threading.Event()

    def stream() -> None:
        body = {"prompt": "Hello", "max_tokens": 3000, "ignore_eos": True, "stream": True}
        with closing(server.connection()) as connection:
            connection.request("POST", TEXT, json.dumps(body))
            for line in connection.getresponse():
                if line.startswith(b"data: {"):
                    lines.append(line)
                    begun.set()
                if done.is_set():
                    return

    thread = threading.Thread(target=stream)
    thread.start()
    begun.wait(20)
    before = len(lines)
    tokens, step = 8000, 512
    reply = server.post(TEXT, {"prompt": [5, 6, 7, 8] * (tokens // 4), "max_tokens": 1, "cache_prompt": False})
    during = len(lines) - before
    done.set()
    thread.join()
    assert reply.json()["usage"]["prompt_tokens"] == tokens
    assert during >= tokens // step - 2  # one token of the stream for each micro-batch of the prompt
    server.wait_until_idle()


def test_one_request_that_does_not_fit_fails_alone(server: LiveServer) -> None:
    with ThreadPoolExecutor(4) as threads:
        fields = {"prompt": "Hello", "max_tokens": 50, "temperature": 0}
        running = [threads.submit(server.post, TEXT, fields) for _ in range(3)]
        refused = server.post(TEXT, {"prompt": [5] * 20000})
        assert (refused.status, refused.error["code"]) == (400, "context_length_exceeded")
        assert {one.result().status for one in running} == {200}


def test_many_streams_at_once(server: LiveServer) -> None:
    server.state.pool.loaded()[0].admission._limit = 1000

    def one(number: int) -> int:
        body = {"prompt": f"Hello {number}", "max_tokens": 8, "ignore_eos": True, "stream": True}
        events = server.post(TEXT, body).events()
        assert events[-1] == "[DONE]"
        return len(events)

    with ThreadPoolExecutor(100) as threads:
        counts = list(threads.map(one, range(200)))
    assert min(counts) >= 3
    server.wait_until_idle()
    wait_for(lambda: all(record.status != 500 for record in server.records))


def test_idle_connections_cost_no_request_anything(server: LiveServer) -> None:
    idle = [server.connection() for _ in range(500)]
    try:
        for connection in idle:
            connection.connect()
        assert server.get("/health").status == 200
        assert server.post(TEXT, {"prompt": "Hello", "max_tokens": 2}).status == 200
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.demo
@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1.0, "seed": 42}])
def test_an_answer_is_the_same_alone_and_beside_seven_others(demo_model: Path, sampling: dict[str, Any]) -> None:
    fields = {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 40, **sampling}
    with serving(spec_of(demo_model, name="demo", parallel=8, n_ctx=1024)) as server, ThreadPoolExecutor(8) as threads:

        def text(number: int) -> str:
            changed = (
                fields if number == 0 else {**fields, "messages": [{"role": "user", "content": f"Tell me about {number}."}]}
            )
            return str(server.post("/v1/chat/completions", changed).json()["choices"][0]["message"]["content"])

        alone = text(0)
        for _ in range(2):
            assert next(threads.map(text, range(8))) == alone


@pytest.mark.demo
def test_a_demo_answer_fits_its_schema(demo_model: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "blue"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["color", "count"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    with serving(spec_of(demo_model, name="demo", n_ctx=1024)) as server:
        messages = [{"role": "user", "content": "Name a colour and a number."}]
        fields = {"messages": messages, "response_format": form, "max_tokens": 60, "temperature": 1.0}
        for seed in range(3):
            choice = server.post("/v1/chat/completions", {**fields, "seed": seed}).json()["choices"][0]
            found = json.loads(choice["message"]["content"])
            assert choice["finish_reason"] == "stop"
            assert found["color"] in ("red", "blue")
            assert 0 <= found["count"] <= 9
