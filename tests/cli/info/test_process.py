"""`llamacli info` as a process: how much memory it takes, whatever the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tiny

PROGRAM = """
import sys
from llamacli.cli.boundary import run_program
status = run_program(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(status)
"""
"""Prints the peak of its own memory in KiB. What the parent is told of it includes the parent's own, from before exec."""

MOST = 60 << 20
"""Bytes of resident memory."""


@pytest.fixture(scope="module")
def large_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of 250,000 tokens and 500,000 merges, as the largest models have."""
    tokens = tuple(f"token{number:06}" for number in range(250_000))
    merges = tuple(f"to ken{number % 250_000:06}" for number in range(500_000))
    vocabulary = tiny.Vocabulary(tokens, (1,) * len(tokens), merges=merges)
    path = tmp_path_factory.mktemp("large") / "vocabulary.gguf"
    path.write_bytes(tiny.gguf_bytes({"general.architecture": "llama", **tiny.tokenizer_metadata(vocabulary)}))
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
@pytest.mark.parametrize("option", [None, "--metadata", "--json", "--check"])
def test_little_memory(large_vocabulary: Path, option: str | None) -> None:
    command = [sys.executable, "-c", PROGRAM, "info", str(large_vocabulary), *([option] if option else [])]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    assert int(done.stderr) * 1024 < MOST
