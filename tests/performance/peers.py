"""The peers of the benchmarks, llama.cpp's own programs built from the same tree with the same flags, and how to compare.

The benchmarks measure the package that is installed for the interpreter that runs them. They need the checkout only for the
peers, and neither put it on the path nor let the current folder precede the installed package: sources without the native
library would hide it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

if importlib.util.find_spec("llamacli") is None:
    sys.exit("llamacli is not installed for this Python: pip install .")

os.environ.setdefault("LLAMACLI_PROMPT_CACHE", "off")  # what is measured again must be done again

ROOT = Path(__file__).parents[2]
TREE = ROOT / "vendor/llama.cpp"
LLAMACLI = (sys.executable, "-P", "-m", "llamacli")
"""The command of the installed program. `-P` keeps the sources in the current folder off the path."""

PROGRAMS = (
    "llama-bench", "llama-completion", "llama-batched-bench", "llama-embedding", "llama-tokenize", "llama-perplexity",
    "llama-server", "llama-mtmd-cli",
)  # fmt: skip


def program(name: str) -> Path:
    """Return a program of llama.cpp, built into LLAMACLI_BENCH_PEERS (default: build/peers) if it does not exist yet."""
    folder = Path(os.environ.get("LLAMACLI_BENCH_PEERS", ROOT / "build/peers"))
    path = folder / "bin" / name
    if not path.exists():
        build(folder)
    return path


def build(folder: Path) -> None:
    """Configure and build the programs; with ccache most objects are those of the package's build."""
    launcher = []
    if ccache := shutil.which("ccache"):
        command = f"cmake;-E;env;CCACHE_BASEDIR=/;CCACHE_NOHASHDIR=1;{ccache}"
        launcher = [f"-DCMAKE_C_COMPILER_LAUNCHER={command}", f"-DCMAKE_CXX_COMPILER_LAUNCHER={command}"]
    off = ("LLAMA_OPENSSL", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_UI", "LLAMA_USE_PREBUILT_UI", "LLAMA_BUILD_APP", "GGML_CCACHE")
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", *[f"-D{name}=OFF" for name in off], *launcher]
    subprocess.run(["cmake", "-S", str(TREE), "-B", str(folder), *options], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(folder), "-j", str(os.cpu_count()), "--target", *PROGRAMS], check=True)


def free_port() -> int:
    """Return a port that nobody uses now."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as bound:
        return int(bound.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Run:
    """One process: its output, wall time in seconds and peak resident memory in bytes."""

    output: str
    seconds: float
    peak: int


def run(command: Sequence[str | Path], **environment: str) -> Run:
    """Run a process and measure it. Raises CalledProcessError if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    scale = 1 if sys.platform == "darwin" else 1024
    return Run(output, seconds, usage.ru_maxrss * scale)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of ours and theirs, and the median of the ratios ours / theirs of pairs measured consecutively."""

    ours: float
    theirs: float
    ratio: float

    def __str__(self) -> str:
        return f"ours {self.ours:10.4g}   theirs {self.theirs:10.4g}   ratio {self.ratio:.3f}"


def interleaved(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> Comparison:
    """Measure both interleaved, in alternating order, after one pair that does not count."""
    ours(), theirs()
    rows = []
    for pair in range(pairs):
        if pair % 2:
            second = theirs()
            rows.append((ours(), second))
        else:
            rows.append((ours(), theirs()))
    return Comparison(
        statistics.median(a for a, _ in rows), statistics.median(b for _, b in rows), statistics.median(a / b for a, b in rows)
    )
