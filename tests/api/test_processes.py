"""Processes: a fork that inherits a model gets an exception, new processes work."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llamacli import Llama


def complete(path: str) -> str:
    """Run in a new process."""
    with Llama(path, n_ctx=64, n_threads=1) as llm:
        return str(llm("Hello", max_tokens=3, temperature=0)["choices"][0]["text"])


def complete_with(llm: Llama) -> str:
    """Run in a new process, on a pickled object."""
    with llm:
        return str(llm("Hello", max_tokens=3, temperature=0)["choices"][0]["text"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_gets_exceptions(tiny_model: Path) -> None:
    code = f"""
import os, sys
from llamacli import Llama
llm = Llama({str(tiny_model)!r}, n_ctx=64, n_threads=2)
llm("Hello", max_tokens=2)
llm.eval([77])
if os.fork() == 0:
    calls = [
        lambda: llm("Hello", max_tokens=2), lambda: llm.eval([77]), lambda: llm.tokenize(b"a"), lambda: llm.n_ctx(),
        lambda: list(llm.generate([77])), lambda: llm.save_state(), lambda: Llama({str(tiny_model)!r}, n_ctx=64),
    ]
    for number, call in enumerate(calls):
        try:
            call()
        except RuntimeError as error:
            assert "spawn" in str(error), error
        else:
            os._exit(10 + number)
    llm.close()
    os._exit(0)
_, status = os.wait()
llm("Hello", max_tokens=2)
llm.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_may_load_if_its_parent_did_not(tiny_model: Path) -> None:
    code = f"""
import os, sys
from llamacli import Llama
if os.fork() == 0:
    with Llama({str(tiny_model)!r}, n_ctx=64, n_threads=2) as llm:
        os._exit(0 if llm("Hello", max_tokens=2)["choices"] else 1)
_, status = os.wait()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_new_processes_work(tiny_model: Path) -> None:
    with Llama(tiny_model, n_ctx=64, n_threads=1) as llm, multiprocessing.get_context("spawn").Pool(1) as pool:
        wanted = llm("Hello", max_tokens=3, temperature=0)["choices"][0]["text"]
        assert pool.apply(complete, (str(tiny_model),)) == wanted
        assert pool.apply(complete_with, (llm,)) == wanted
