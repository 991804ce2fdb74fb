"""The program with its engine where nobody sits before a terminal: `nohup`, `setsid`, cron, containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llamacli.backend.child.engine import open_engine
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]

NO_SHARED_MEMORY = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o mode=000,size=4k none /dev/shm && exec "$@"', "sh")


def can(*command: str) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run([*command, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    "before",
    [
        ("nohup",),
        ("setsid", "--wait"),
        ("sh", "-c", 'exec "$@" <&-', "sh"),
        ("sh", "-c", 'exec "$@" <&- 2>&-', "sh"),
        ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh"),
        NO_SHARED_MEMORY,
    ],
    ids=["nohup", "setsid", "no stdin", "no stderr", "few descriptors", "no shared memory"],
)
def test_an_answer_without_a_terminal(before: tuple[str, ...], tiny_model: Path, tmp_path: Path) -> None:
    if not can(*before):
        pytest.skip(f"this system has no {before[0]}, or does not allow it")
    command = [*before, sys.executable, "-m", "llamacli", "run", "-m", str(tiny_model), "-t", "1", "-n", "2", "--raw", "Hello"]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}  # cron gives no more
    done = subprocess.run(command, cwd="/", env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_system_that_allows_no_more_threads_is_one_error(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(EngineError, match="ulimit -u"):
        open_engine(tiny_model, ModelParams(), ContextParams(n_ctx=256, threads=1))
