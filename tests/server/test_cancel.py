"""Clients that leave, wait or read slowly: what they asked for ends, and costs the others nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import tiny
import uvicorn
from serving import LiveServer, serving, spec_of, wait_for

from llamacli.backend.local import open_backend
from llamacli.server.http.exchange import HttpLimits
from llamacli.server.http.protocol import Deadlines
from llamacli.server.listen import open_address
from llamacli.server.models.pool import PoolParams
from llamacli.server.run import connection_class

LONG = {"prompt": "Hello", "max_tokens": 4000, "ignore_eos": True, "temperature": 1}


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a long context, in which an answer lasts for seconds."""
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "slow.gguf", context=32768, layers=4, width=64)


@pytest.fixture
def server(slow_model: Path) -> Iterator[LiveServer]:
    limits = HttpLimits(ping_seconds=0.1)
    with serving(spec_of(slow_model, parallel=1, n_ctx=16384), limits=limits, pool=PoolParams(queue=2)) as live:
        yield live


def opened(server: LiveServer, **fields: Any) -> socket.socket:
    """A connection on which a request was sent."""
    body = json.dumps({**LONG, **fields}).encode()
    sent = socket.create_connection(("127.0.0.1", server.port))
    sent.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return sent


def until_received(connection: socket.socket, part: bytes) -> bytes:
    """Read until a part has come, and return all that came."""
    connection.settimeout(5)
    data = b""
    while part not in data:
        received = connection.recv(4096)
        assert received, "the connection was closed"
        data += received
    return data


def reset(connection: socket.socket) -> None:
    """Close a connection at once, as a program does that is killed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def running(server: LiveServer) -> int:
    return sum(model.admission.running for model in server.state.pool.loaded())


def waiting(server: LiveServer) -> int:
    return sum(model.admission.waiting for model in server.state.pool.loaded())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_an_answer_ends_when_its_client_leaves(server: LiveServer, stream: bool, leave: Any) -> None:
    connection = opened(server, stream=stream)
    wait_for(lambda: running(server) == 1)
    time.sleep(0.1)
    leave(connection)
    assert server.wait_until_idle() < 0.5
    wait_for(lambda: bool(server.records))
    assert server.records[-1].status == 499


def test_a_prompt_ends_when_its_client_leaves(server: LiveServer) -> None:
    logged = len(server.records)
    connection = opened(server, prompt=[5] * 16000, stream=True)
    wait_for(lambda: running(server) == 1)
    time.sleep(0.05)
    connection.close()
    assert server.wait_until_idle() < 1
    wait_for(lambda: len(server.records) > logged)
    assert server.records[-1].first_token is None


def test_who_leaves_the_line_is_never_answered(server: LiveServer) -> None:
    places = 1 + 2  # one runs, two wait in the engine
    connections = [opened(server, max_tokens=100000) for _ in range(places)]
    wait_for(lambda: running(server) == places)
    left = opened(server)
    wait_for(lambda: waiting(server) == 1)
    left.close()
    wait_for(lambda: waiting(server) == 0)
    for connection in connections:
        connection.close()
    server.wait_until_idle()
    assert all(record.completion_tokens == 0 for record in server.records)


def test_a_full_line_is_a_429_that_says_when_to_come_again(server: LiveServer) -> None:
    connections = [opened(server, max_tokens=100000) for _ in range(3)]
    wait_for(lambda: running(server) == 3)
    connections += [opened(server) for _ in range(2)]
    wait_for(lambda: waiting(server) == 2)
    reply = server.post("/v1/completions", LONG)
    assert reply.status == 429
    assert reply.error["code"] == "queue_full"
    assert int(reply.headers["retry-after"]) >= 1
    assert server.get("/health").status == 200
    for connection in connections:
        connection.close()
    server.wait_until_idle()


def test_comments_keep_a_stream_alive_while_it_waits(server: LiveServer) -> None:
    with closing(opened(server, stream=True, max_tokens=100000)) as first:
        until_received(first, b"data: ")  # now it has the only place in the context
        with closing(opened(server, stream=True)) as second:
            assert until_received(second, b": waiting").startswith(b"HTTP/1.1 200")
    server.wait_until_idle()


def test_an_error_in_a_stream_that_has_begun_is_an_event(server: LiveServer) -> None:
    with closing(opened(server, stream=True, max_tokens=100000)) as connection:
        connection.settimeout(5)
        data = connection.recv(65536)
        server.state.pool.loaded()[0].backend.cancel()
        while b'"error"' not in data:
            received = connection.recv(65536)
            assert received, data[-500:]
            data = data[-65536:] + received
        assert b"[DONE]" not in data
        assert b"shuts down" in data


def test_a_slow_body_is_a_408(slow_model: Path) -> None:
    with (
        serving(spec_of(slow_model), limits=HttpLimits(body_seconds=0.2)) as server,
        closing(socket.create_connection(("127.0.0.1", server.port))) as connection,
    ):
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        connection.settimeout(5)
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_large_body_is_a_413(slow_model: Path) -> None:
    with serving(spec_of(slow_model), limits=HttpLimits(body_bytes=1000)) as server:
        reply = server.post("/v1/completions", {"prompt": "x" * 2000})
        assert reply.status == 413
        assert reply.headers["connection"] == "close"


def test_a_head_that_does_not_come_is_not_waited_for(slow_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadlines, "head_seconds", 0.2)
    with (
        serving(spec_of(slow_model)) as server,
        closing(socket.create_connection(("127.0.0.1", server.port))) as connection,
    ):
        connection.settimeout(5)
        for _ in range(3):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            data = b""
            while b'"ok"}' not in data:
                data += connection.recv(4096)
            assert data.startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /hea")
        with suppress(ConnectionResetError):
            assert connection.recv(4096) == b""


def test_a_client_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadlines, "write_seconds", 0.3)
    ended: list[bool] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not ended:
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
            with suppress(TimeoutError):
                ended.append((await asyncio.wait_for(receive(), 0.001))["type"] == "http.disconnect")

    async def main() -> None:
        (bound,) = open_address("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(application, http=connection_class(), lifespan="off", log_config=None))
        serving = asyncio.ensure_future(server._serve([bound]))
        _, writer = await asyncio.open_connection(*bound.getsockname(), limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(20):
            while not ended:
                await asyncio.sleep(0.01)
        writer.close()
        server.should_exit = True
        await serving

    asyncio.run(main())
    assert ended == [True]


def test_health_tells_the_progress_while_the_model_is_loading(slow_model: Path) -> None:
    half, go = threading.Event(), threading.Event()

    def open_slowly(path: Path, model: Any, context: Any, *, on_load: Any, **more: Any) -> Any:
        on_load(0.5)
        half.set()
        go.wait()
        return open_backend(path, model, context, on_load=on_load, **more)

    with serving(spec_of(slow_model), opener=open_slowly, loaded=False) as server:
        half.wait()
        reply = server.get("/health")
        assert reply.status == 503
        assert reply.json() == {"status": "loading model", "model": "slow", "progress": 0.5}
        assert server.get("/v1/models").json()["data"][0]["status"] == {"value": "loading", "progress": 0.5}
        with closing(opened(server, max_tokens=1)) as connection:  # it waits
            go.set()
            connection.settimeout(20)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert server.get("/health").status == 200


def test_an_engine_that_dies_fails_its_requests_and_comes_back(server: LiveServer) -> None:
    fields = {"prompt": "Hello", "max_tokens": 4, "temperature": 0}
    before = server.post("/v1/completions", fields).json()["choices"]
    with closing(opened(server, max_tokens=100000)) as whole, closing(opened(server, stream=True)) as stream:
        whole.settimeout(20)
        stream.settimeout(20)
        wait_for(lambda: running(server) == 2)
        os.kill(server.state.pool.loaded()[0].backend.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        assert whole.recv(100).startswith(b"HTTP/1.1 503")
        assert b"engine" in stream.recv(65536)
    server.wait_until_idle()
    assert server.get("/health").status == 200
    after = server.post("/v1/completions", fields)
    assert after.status == 200, after.body
    assert (after.status, after.json()["choices"]) == (200, before)
