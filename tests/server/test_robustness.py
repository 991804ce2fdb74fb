"""What happens to files and clients while a server runs: it stays up, and says what is wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
import tiny
from serving import serving, spec_of, wait_for

from llamacli.server.http.protocol import Deadlines, H11Connection
from llamacli.server.models.pool import PoolParams
from llamacli.server.run import connection_class

TEXT = "/v1/completions"
GREEDY = {"prompt": "Hello", "max_tokens": 8, "temperature": 0}
ENDURANCE = Path(__file__).parents[1] / "performance/bench_endurance.py"


def test_a_model_that_is_replaced_while_it_is_loaded_answers_as_before(tmp_path: Path) -> None:
    path, other = tiny.tiny_model(tmp_path / "m.gguf"), tiny.tiny_model(tmp_path / "other.gguf", layers=1)
    with serving(spec_of(path), pool=PoolParams(keep_alive=0.0)) as server:
        before = server.post(TEXT, GREEDY).json()["choices"]
        other.replace(path)
        assert server.post(TEXT, GREEDY).json()["choices"] == before
        wait_for(lambda: not server.state.pool.loaded(), 20)  # idle: freed
        assert server.post(TEXT, GREEDY).json()["choices"] != before


def test_a_model_that_is_damaged_while_it_is_loaded_is_a_503_until_it_is_whole(tmp_path: Path) -> None:
    path = tiny.tiny_model(tmp_path / "m.gguf")
    whole = path.read_bytes()
    with serving(spec_of(path)) as server:
        before = server.post(TEXT, GREEDY).json()["choices"]
        os.truncate(path, 1000)
        os.kill(server.state.pool.loaded()[0].backend.pid, 9)  # type: ignore[attr-defined]  # as reading past the end does
        wait_for(lambda: not server.state.pool.loaded()[0].backend.is_alive)
        for _ in range(2):
            refused = server.post(TEXT, GREEDY)
            assert refused.status == 503, refused.body
        assert server.get("/health").status == 503
        path.write_bytes(whole)
        assert server.post(TEXT, GREEDY).json()["choices"] == before
        assert server.get("/health").status == 200


def test_clients_that_send_or_read_slowly_delay_nobody(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deadlines, "head_seconds", 2.0)
    body = json.dumps({**GREEDY, "max_tokens": 300, "stream": True, "ignore_eos": True}).encode()
    whole = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (TEXT.encode(), len(body), body)
    with serving(spec_of(tiny_model)) as server, ExitStack() as opened:
        slow = []
        for number in range(100):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(b"POST /v1/comp" if number % 2 else whole)  # the rest never comes; the answer is never read
            slow.append(connection)
        with ThreadPoolExecutor(4) as threads:
            assert {one.status for one in threads.map(lambda _: server.post(TEXT, GREEDY), range(8))} == {200}
        server.wait_until_idle(60)
        for connection in slow[1::2]:
            connection.settimeout(20)
            with suppress(ConnectionResetError):
                assert connection.recv(10) == b""


def test_a_pipelined_request_is_answered_after_the_first(tiny_model: Path) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(spec_of(tiny_model)) as server, closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.sendall(3 * request)
        connection.settimeout(20)
        data = b""
        while data.count(b'"ok"}') < 3:
            received = connection.recv(4096)
            assert received
            data += received


@pytest.mark.parametrize("begins", [b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"GET /"])
def test_a_head_that_never_ends_is_refused(tiny_model: Path, begins: bytes) -> None:
    with serving(spec_of(tiny_model)) as server, closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.settimeout(20)
        connection.sendall(begins)
        with suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"a" * 4096)
        with suppress(ConnectionError):
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        assert server.get("/health").status == 200


def test_what_follows_a_body_is_bounded(tiny_model: Path) -> None:
    body = json.dumps(GREEDY).encode()
    head = f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with serving(spec_of(tiny_model)) as server, closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.settimeout(20)
        connection.sendall(b"%b%x\r\n%b\r\n0\r\n" % (head, len(body), body))
        trailers = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 1000) for number in range(20_000))
        with pytest.raises(ConnectionError):
            connection.sendall(trailers)


def test_an_upgrade_that_is_not_offered_is_ignored(tiny_model: Path) -> None:
    body = json.dumps(GREEDY).encode()
    head = f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    request = b"%bHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: %d\r\n\r\n%b" % (head.encode(), len(body), body)
    with serving(spec_of(tiny_model)) as server, closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
        connection.settimeout(20)
        for _ in range(2):
            connection.sendall(request)
            data = b""
            while not data.endswith(b"}}"):
                received = connection.recv(65536)
                assert received, data
                data += received
            assert data.startswith(b"HTTP/1.1 200")


def test_without_httptools_h11_reads_requests(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.delitem(sys.modules, "llamacli.server.http.fast_protocol", raising=False)
    assert connection_class() is H11Connection
    with serving(spec_of(tiny_model)) as server, closing(server.connection()) as connection:
        for _ in range(2):
            connection.request("POST", TEXT, json.dumps({**GREEDY, "prompt": "Hello " * 20000}))
            response = connection.getresponse()
            assert json.loads(response.read())["error"]["code"] == "context_length_exceeded"


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_many_streams_and_idle_connections_for_a_moment(tiny_model: Path) -> None:
    arguments = ["--streams", "20", "--seconds", "1.5", "--idle", "200", "--most-growth", "1000", "--most-lag", "60000"]
    found = subprocess.run(
        [sys.executable, str(ENDURANCE), str(tiny_model), *arguments], capture_output=True, text=True, timeout=120
    )
    assert (found.returncode, found.stderr) == (0, ""), found.stdout
    assert "0 errors" in found.stdout
    assert "200 idle connections" in found.stdout
