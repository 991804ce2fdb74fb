"""`run --input` over three `serve` processes, one killed with -9 in the middle, one stopped again and again: complete."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROWS = 40
PROGRAM = [sys.executable, "-P", "-m", "llamacli"]


class Server:
    """A `serve` process of its own."""

    def __init__(self, model: Path) -> None:
        arguments = ("serve", "-m", str(model), "--port", "0", "-t", "1", "--parallel", "2")
        self.popen = subprocess.Popen([*PROGRAM, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            if match := re.search(r"http://\S+:\d+", line):
                self.url = match[0]
                break
        else:
            raise AssertionError("it did not start")
        self._reader = threading.Thread(target=self.popen.stderr.read, daemon=True)
        self._reader.start()

    def signal(self, number: int) -> None:
        """Signal it, and the process of its engine."""
        os.killpg(self.popen.pid, number)

    def end(self) -> None:
        """End it, if it still runs, and close its pipe."""
        if self.popen.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
        self.popen.wait()
        self._reader.join()
        assert self.popen.stderr is not None
        self.popen.stderr.close()


@contextmanager
def slowed(server: Server) -> Iterator[None]:
    """Stop a server for most of the time."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            server.signal(signal.SIGSTOP)
            done.wait(0.08)
            server.signal(signal.SIGCONT)
            done.wait(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_nothing_is_lost_or_doubled(tiny_model: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"row {number}", "max_tokens": 24}) + "\n" for number in range(ROWS)))
    servers = [Server(tiny_model), Server(tiny_model)]
    dying = Server(tiny_model)
    try:
        for number in range(pytestconfig.getoption("pool_runs")):
            if dying.popen.poll() is not None:
                dying = Server(tiny_model)
            output = tmp_path / f"out{number}.jsonl"
            urls = [word for server in (*servers, dying) for word in ("--url", server.url)]
            with slowed(servers[1]):
                arguments = ("run", *urls, "--input", str(rows), "--output", str(output), "--temp", "0")
                run = subprocess.Popen([*PROGRAM, *arguments], stderr=subprocess.PIPE, text=True)
                while run.poll() is None and (not output.exists() or output.read_text().count("\n") < 1 + number % 20):
                    time.sleep(0.01)
                dying.signal(signal.SIGKILL)
                _, said = run.communicate(timeout=120)
            results = [json.loads(line) for line in output.read_text().splitlines()]
            assert run.returncode == 0, said
            assert [one["row"] for one in results] == list(range(ROWS)), f"run {number}"
            assert all(one.get("error") is None for one in results), f"run {number}"
            dying.end()
    finally:
        for server in (*servers, dying):
            server.end()
