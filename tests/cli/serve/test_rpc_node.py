"""`llamacli serve --rpc-node`, and commands that use it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import invoke
from rpc import free_port

LLAMACLI = [sys.executable, "-P", "-m", "llamacli"]


@pytest.fixture
def node() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a node from the command line, and its process."""
    port = free_port()
    process = subprocess.Popen(
        [*LLAMACLI, "serve", "--rpc-node", "--port", str(port)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert re.fullmatch(rf"llamacli: RPC node at 127\.0\.0\.1:{port}: [\d.]+ [MGT]iB of memory(, .*)?\n", first), first
    yield f"127.0.0.1:{port}", process
    process.kill()
    process.wait()
    process.stderr.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LLAMACLI, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_a_node_from_start_to_end(node: tuple[str, subprocess.Popen[str]], tiny_model: Path) -> None:
    address, process = node
    options = ("-m", str(tiny_model), "-n", "8", "--temp", "0", "--ignore-eos", "Hello")
    there, here = run("run", "--rpc", address, *options), run("run", *options)
    assert (there.returncode, there.stdout) == (0, here.stdout)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    gone = run("run", "--rpc", address, *options)
    assert (gone.returncode, gone.stdout) == (7, "")
    assert gone.stderr == (
        f"llamacli: error: cannot reach the RPC node {address}: Connection refused "
        "(start a node there: `llamacli help cluster` tells how)\n"
    )


def test_a_node_whose_engine_dies_starts_again(node: tuple[str, subprocess.Popen[str]], tiny_model: Path) -> None:
    address, process = node
    assert process.stderr is not None
    for child in children_of(process.pid):
        os.kill(child, signal.SIGABRT)
    lines = [process.stderr.readline() for _ in range(2)]
    assert "the node starts again, without what it held" in lines[0]
    assert lines[1].startswith(f"llamacli: RPC node at {address}")
    assert run("run", "--rpc", address, "-m", str(tiny_model), "-n", "2", "Hello").returncode == 0


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True).stdout
    return [int(one) for one in found.split()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rpc-node", "-m", "x.gguf"), "-m has no effect with --rpc-node"),
        (("--rpc-node", "--api-key", "12345678"), "--api-key has no effect with --rpc-node"),
        (("--rpc-node", "--host", "0.0.0.0"), "RPC knows no keys"),
        (("--rpc-node", "--host", "no-such-host.invalid"), "has no IPv4 address"),
        (("--insecure-rpc",), "--insecure-rpc needs --rpc-node"),
        (("--cache", "/tmp/x"), "--cache needs --rpc-node"),
    ],
)
def test_options_that_do_not_fit(arguments: tuple[str, ...], message: str) -> None:
    result = invoke("serve", *arguments)
    assert result.status == 2
    assert message in result.stderr


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = invoke("serve", "--rpc-node", "--port", str(port))
    assert result.status == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use (--port selects another one)" in result.stderr


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke("serve", "--rpc-node", "--port", "0", "--cache", str(tmp_path / "file" / "kept"))
    assert result.status == 1
    assert "cannot make the folder" in result.stderr
