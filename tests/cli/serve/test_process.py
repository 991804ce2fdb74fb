"""`llamacli serve` as a process: where it listens, how it ends, and what it refuses to start with."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

COMMAND = [sys.executable, "-P", "-m", "llamacli", "serve"]

ENDLESS = {"max_tokens": 15000, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "slow.gguf", context=32768, layers=4, width=64)


class Process:
    """A running server. `lines` are those of standard error so far."""

    def __init__(self, *arguments: str, environ: dict[str, str] | None = None, **options: Any) -> None:
        self.popen = subprocess.Popen(
            [*COMMAND, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **(environ or {})}, **options,
        )  # fmt: skip
        self.lines: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.lines.append(line)
            if "serving" in line:
                self._ready.set()
        self._ready.set()

    def wait_until_ready(self) -> int:
        """Wait until it listens; return its port, 0 without one."""
        assert self._ready.wait(30), self.lines
        match = re.search(r":(\d+)/v1", "".join(self.lines))
        return int(match[1]) if match else 0

    def end(self, *signals: int) -> int:
        for number in signals:
            self.popen.send_signal(number)
            time.sleep(0.2)
        status = self.popen.wait(30)
        self._reader.join()
        return status


@contextlib.contextmanager
def process(*arguments: str, **options: Any) -> Iterator[Process]:
    started = Process(*arguments, **options)
    try:
        yield started
    finally:
        if started.popen.poll() is None:
            started.popen.kill()
        started.popen.wait()
        started._reader.join()
        for stream in (started.popen.stderr, started.popen.stdout):
            assert stream is not None
            stream.close()


@contextlib.contextmanager
def asked(port: int, **fields: Any) -> Iterator[http.client.HTTPResponse]:
    """The response to a request, of which the body is still to be read."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request("POST", "/v1/completions", json.dumps({"prompt": "Hello", "max_tokens": 4, **fields}))
        with connection.getresponse() as response:
            yield response


def ask(port: int, **fields: Any) -> int:
    """The status of a request."""
    with asked(port, **fields) as response:
        response.read()
        return response.status


def run(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **(environ or {})}
    )


def test_it_says_where_it_listens_and_logs_each_request(tiny_model: Path) -> None:
    with process("-m", str(tiny_model), "--port", "0", "--log-json", "--log-prompts") as server:
        port = server.wait_until_ready()
        assert ask(port) == 200
        assert server.end(signal.SIGTERM) == 0
        assert server.lines[0] == f"llamacli: serving tiny at http://localhost:{port}/v1\n"
        record = json.loads(server.lines[-1])
        assert (record["path"], record["status"], record["completion_tokens"]) == ("/v1/completions", 200, 4)
        assert record["prompts"] == ["Hello"]


def test_prompts_are_not_logged_unless_asked_for(tiny_model: Path) -> None:
    with process("-m", str(tiny_model), "--port", "0") as server:
        port = server.wait_until_ready()
        assert ask(port, prompt="a secret") == 200
        assert server.end(signal.SIGINT) == 0
        assert "secret" not in "".join(server.lines)
        assert re.search(r"^POST /v1/completions 200, \d+ ms, .* 4 tokens", server.lines[-1])


def test_running_answers_finish_and_a_second_signal_ends_them(slow_model: Path) -> None:
    arguments = ("-m", str(slow_model), "--port", "0", "-c", "16384", "--parallel", "1", "-t", "1")
    with process(*arguments) as server:
        port = server.wait_until_ready()
        with asked(port, max_tokens=100, ignore_eos=True, stream=True) as stream:
            stream.readline()
            server.popen.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            assert stream.read().endswith(b"data: [DONE]\n\n")
        assert server.end() == 0
    with process(*arguments) as server, asked(server.wait_until_ready(), **ENDLESS) as stream:
        stream.readline()
        started = time.monotonic()
        assert server.end(signal.SIGTERM, signal.SIGTERM) == 0
        assert time.monotonic() - started < 10
        assert b"server_error" in stream.read()


def test_the_time_to_finish_is_limited(slow_model: Path) -> None:
    arguments = ("-m", str(slow_model), "--port", "0", "-c", "16384", "--parallel", "1", "-t", "1", "--drain", "500ms")
    with process(*arguments) as server, asked(server.wait_until_ready(), **ENDLESS) as stream:
        stream.readline()
        started = time.monotonic()
        assert server.end(signal.SIGTERM) == 0
        assert 0.5 < time.monotonic() - started < 10


def test_a_unix_socket_is_for_this_user_only(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with process("-m", str(tiny_model), "--socket", str(path)) as server:
        server.wait_until_ready()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(path))
            client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        refused = run("-m", str(tiny_model), "--socket", str(path))
        assert refused.returncode == 1
        assert "another server listens" in refused.stderr
        assert server.end(signal.SIGTERM) == 0
    assert not path.exists()
    path.write_text("precious")
    assert run("-m", str(tiny_model), "--socket", str(path)).returncode == 1
    assert path.read_text() == "precious"


def test_sockets_of_systemd_are_taken(tiny_model: Path, tmp_path: Path) -> None:
    bound = socket.create_server(("127.0.0.1", 0))
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        pass_socket = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
            "os.execv(sys.executable, [sys.executable, '-P', '-m', 'llamacli', 'serve', '-m', sys.argv[2]])"
        )
        command = [sys.executable, "-P", "-c", pass_socket, str(bound.fileno()), str(tiny_model)]
        environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        running = subprocess.Popen(command, pass_fds=[bound.fileno()], stderr=subprocess.DEVNULL, env=environ)
        try:
            assert systemd.recv(100) == b"READY=1"
            assert ask(bound.getsockname()[1]) == 200
            running.send_signal(signal.SIGTERM)
            assert systemd.recv(100) == b"STOPPING=1"
            assert running.wait(30) == 0
        finally:
            running.kill()
            running.wait()
            bound.close()


def test_tls(tiny_model: Path, tmp_path: Path) -> None:
    import ssl

    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", certificate, "-keyout", key],
        capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl does not make a certificate here")
    arguments = ("-m", str(tiny_model), "--port", "0", "--tls-cert", str(certificate))
    assert "given together" in run(*arguments).stderr
    assert run(*arguments, "--tls-key", str(tiny_model)).returncode == 2
    with process(*arguments, "--tls-key", str(key)) as server:
        port = server.wait_until_ready()
        assert "https://localhost" in server.lines[0]
        context = ssl.create_default_context(cafile=str(certificate))
        with contextlib.closing(http.client.HTTPSConnection("localhost", port, context=context, timeout=10)) as connection:
            connection.request("GET", "/v1/models")
            assert connection.getresponse().status == 200
        assert server.end(signal.SIGTERM) == 0


def test_other_machines_need_a_key(tiny_model: Path, tmp_path: Path) -> None:
    arguments = ("-m", str(tiny_model), "--host", "0.0.0.0", "--port", "0")
    refused = run(*arguments)
    assert refused.returncode == 2
    assert "a key is needed" in refused.stderr
    assert run(*arguments, "--api-key", "short").returncode == 2
    keys = tmp_path / "keys.json"
    made = run("key", "new", "laptop", "--keys-file", str(keys), "--limit", "60/min")
    secret = made.stdout.strip()
    assert made.returncode == 0
    assert secret.startswith("sk-llamacli-")
    assert run("key", "list", "--keys-file", str(keys)).stdout == "laptop\t60/min\n"
    with process(*arguments, "--api-keys-file", str(keys)) as server:
        port = server.wait_until_ready()

        def status(key: str) -> int:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
                return connection.getresponse().status

        assert (status(secret), status("sk-other")) == (200, 401)
        other = run("key", "new", "phone", "--keys-file", str(keys)).stdout.strip()
        assert run("key", "rm", "laptop", "--keys-file", str(keys)).returncode == 0
        assert status(secret) == 200
        server.popen.send_signal(signal.SIGHUP)
        for _ in range(500):
            if "llamacli: read keys and settings again\n" in server.lines:
                break
            time.sleep(0.01)
        assert (status(secret), status(other)) == (401, 200)
        assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (("-m", "/nothing.gguf"), "file not found", 3),
        (("--port", "70000"), "not a port", 2),
        (("--rate-limit", "x"), "not a limit", 2),
        (("--keep-alive", "soon"), "not a duration", 2),
        (("--parallel", "0"), "from 1 to 256", 2),
        (("--host", "no.such.host.invalid"), "has no address", 2),
        (("--api-keys-file", "/nothing.json"), "does not exist", 2),
        (("--top-k", "-9"), "top-k", 2),
    ],
)
def test_wrong_options_are_told_at_once(tiny_model: Path, arguments: tuple[str, ...], words: str, status: int) -> None:
    given = arguments if "-m" in arguments else ("-m", str(tiny_model), *arguments)
    found = run(*given)
    assert found.returncode == status, found.stderr
    assert words in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_told(tiny_model: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        found = run("-m", str(tiny_model), "--port", str(taken.getsockname()[1]))
    assert found.returncode == 1
    assert "cannot listen on 127.0.0.1" in found.stderr


def test_models_have_names_and_settings_of_their_own(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(tiny_model.read_bytes())
    config = tmp_path / "config.toml"
    config.write_text(f'[aliases]\nfast = "{tiny_model}"\n[models.fast]\nctx-size = 256\n[models."{other}"]\nparallel = 2\n')
    with process("--port", "0", environ={"LLAMACLI_CONFIG": str(config)}) as server:
        port = server.wait_until_ready()
        assert "serving fast, other" in server.lines[0]
        for name in ("fast", "tiny", "other.gguf"):
            assert ask(port, model=name) == 200
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/v1/models")
            found = {model["id"]: model["meta"] for model in json.load(connection.getresponse())["data"]}
        assert found["fast"]["n_ctx"] == 256
        assert found["other"]["n_ctx"] == 512
        assert (found["fast"]["n_parallel"], found["other"]["n_parallel"]) == (4, 2)
        assert server.end(signal.SIGTERM) == 0


def test_sighup_reads_settings_again(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(tiny_model.read_bytes())
    config = tmp_path / "config.toml"
    one, two = f'[aliases]\none = "{tiny_model}"\n[models.one]\nctx-size = 256\n', f'[aliases]\ntwo = "{other}"\n[models.two]\n'
    config.write_text(one)

    def sent(server: Process, text: str, line: str) -> None:
        config.write_text(text)
        server.popen.send_signal(signal.SIGHUP)
        end = time.monotonic() + 20
        while not any(line in found for found in server.lines):
            assert time.monotonic() < end, server.lines
            time.sleep(0.01)
        server.lines.clear()

    with process("--port", "0", environ={"LLAMACLI_CONFIG": str(config)}) as server:
        port = server.wait_until_ready()
        assert [ask(port, model=name) for name in ("one", "two")] == [200, 404]
        sent(server, f"{one}[defaults]\nport = true\n", "keys and settings stay as they are")
        sent(server, '[defaults]\nrate-limit = "2/h"\n' + two, "read keys and settings again")
        assert [ask(port, model=name) for name in ("two", "one", "two")] == [200, 404, 429]
        sent(server, f'{one}[defaults]\napi-key = ["sk-long-enough"]\n', "read keys and settings again")
        assert ask(port, model="one") == 401
        sent(server, one, "stay as they are: without keys anybody")
        assert ask(port, model="one") == 401
        assert server.end(signal.SIGTERM) == 0


def test_another_asgi_server_gets_the_application_from_the_environment(tiny_model: Path) -> None:
    program = """
import asyncio, json
from llamacli.server import app_from_environment
app = app_from_environment()
async def main():
    inbox, sent = asyncio.Queue(), []
    async def receive(): return await inbox.get()
    async def send(message): sent.append(message)
    life = asyncio.ensure_future(app({"type": "lifespan"}, receive, send))
    await inbox.put({"type": "lifespan.startup"})
    while not sent: await asyncio.sleep(0.01)
    requests = asyncio.Queue()
    async def request(): return await requests.get()
    await requests.put({"type": "http.request", "body": b'{"prompt": "Hello", "max_tokens": 2}'})
    answer = []
    async def answered(message): answer.append(message)
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": [(b"host", b"localhost")]}
    await app(scope, request, answered)
    print(answer[0]["status"], json.loads(answer[1]["body"])["usage"]["completion_tokens"])
    await inbox.put({"type": "lifespan.shutdown"})
    await life
asyncio.run(main())
"""
    environ = {**os.environ, "LLAMACLI_MODEL": str(tiny_model)}
    found = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, env=environ, timeout=60)
    assert found.stdout == "200 2\n", found.stderr
