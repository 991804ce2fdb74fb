"""What waits takes no processor: a paused pipe, a chat without input, a server without requests. All their processes count."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell processor times")

PROGRAM = [sys.executable, "-P", "-m", "llamacli"]
SECONDS = 1.5
MOST = 0.01
TRIES = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "idle.gguf", context=32768, layers=2)


def fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(root: int) -> list[int]:
    """The process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int(fields(int(folder.name))[1])
            except OSError:
                continue  # it has ended
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def computed(root: int) -> float:
    """Processor seconds of a process and its descendants so far."""
    return sum(sum(map(int, fields(pid)[11:13])) for pid in family(root)) / os.sysconf("SC_CLK_TCK")


def share(root: int) -> float:
    """The share of a processor that they take, at the least of some tries: on a busy machine the last work may end late."""
    shares = []
    for _ in range(TRIES):
        before, started = computed(root), time.monotonic()
        time.sleep(SECONDS)
        shares.append((computed(root) - before) / (time.monotonic() - started))
        if shares[-1] <= MOST:
            break
    return min(shares)


@contextmanager
def started(*arguments: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*PROGRAM, *arguments], **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pipe_that_nobody_reads(model: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, getattr(fcntl, "F_SETPIPE_SZ", 1031), 4096)
    options = ("-m", str(model), "-n", "30000", "-c", "32768", "--ignore-eos", "--no-stdin", "hello")
    with os.fdopen(reader, "rb"), started("run", *options, stdout=writer) as process:
        os.close(writer)
        wait_for(lambda: select.select([reader], [], [], 0)[0])
        assert share(process.pid) <= MOST
        assert process.poll() is None, "it waits"


def test_a_chat_without_input(model: Path) -> None:
    terminal, theirs = pty.openpty()
    with started("chat", "-m", str(model), "-n", "20", stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        screen = b""

        def shows(text: bytes) -> bool:
            nonlocal screen
            while select.select([terminal], [], [], 0)[0]:
                screen += os.read(terminal, 65536)
            return text in screen

        wait_for(lambda: shows(b">"))
        os.write(terminal, b"hello\r")
        wait_for(lambda: shows(b"hello"))
        assert share(process.pid) <= MOST, "after the few tokens of the answer"
        assert process.poll() is None
    os.close(terminal)


def test_a_server_after_its_first_answer(model: Path) -> None:
    options = ("-m", str(model), "--port", "0")
    with started("serve", *options, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if b"serving" in line)
        port = int(line.split(b"/v1")[0].rpartition(b":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/v1/completions", json.dumps({"prompt": "hello", "max_tokens": 20}))
        assert connection.getresponse().status == 200
        assert share(process.pid) <= MOST
        connection.close()
