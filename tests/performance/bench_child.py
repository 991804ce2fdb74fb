"""The engine in a child process against the same engine in the program's own process, measured in turns.

    python tests/performance/bench_child.py MODEL EMBEDDING_MODEL [--pairs 5] [--threads N] [--only start,generate,...]

Whole processes for the start, one answer of 256 tokens, 64 rows of 32 tokens, and 1,000 short texts to vectors. Nothing is
drafted: how many drafts pay is measured, and differs from run to run. The ratio is the child's speed over the other's: 1.0 is
as fast; the start is in milliseconds more. `resident` is the first token of a short prompt, as a whole process, from a child
that stays (`--keep-alive`). Files of the interpreter must be compiled for it: not with PYTHONDONTWRITEBYTECODE, nor from an
editable installation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = """
import os, sys, types
from llamacli.cli.boundary import run_program
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
def open_engine(path, model, context, *, child=None, on_load=None):
    from llamacli.engine.engine import Engine
    return Engine(path, model, context, on_load=on_load)
def open_embedder(path, model, context, *, attention, budget, child, on_load):
    from llamacli.engine.embedding.embedder import Embedder
    return Embedder(path, model, context, attention=attention, budget=budget, on_load=on_load)
embedder = sys.modules["llamacli.backend.child.embedder"] = types.ModuleType("embedder")  # nothing of the child is imported
embedder.open_embedder = open_embedder
os._exit(run_program(sys.argv[1:], AppContext(console=Console.system(), open_engine=open_engine)))
"""
CHILD = [sys.executable, "-P", "-m", "llamacli"]
IN_PROCESS = [sys.executable, "-P", "-c", HERE]


def wall(command: list[str]) -> float:
    """Return the seconds that a whole process takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def bench_resident(program: list[str], run: list[str], count: int) -> None:
    """Print the milliseconds until a process has written the first token of a resident child, and ended."""
    command = [*program, *run, "--keep-alive", "1m", "-n", "1", "Hello"]
    wall(command)  # which leaves the child
    seconds = [wall(command) for _ in range(count)]
    subprocess.run([*program, "models", "stop", "--all"], check=True, stderr=subprocess.DEVNULL)
    print(f"resident  median {statistics.median(seconds) * 1e3:.0f} ms   least {min(seconds) * 1e3:.0f} ms")


def said(command: list[str], pattern: str) -> float:
    """Return a number that a process writes to standard error."""
    done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return float(re.findall(pattern, done.stderr)[-1].replace(",", ""))


def pair(job: Callable[[list[str]], float], *, is_first: bool) -> tuple[float, float]:
    """Return the figures of a job with the child, which is first or second, and in one process."""
    if is_first:
        return job(CHILD), job(IN_PROCESS)
    here = job(IN_PROCESS)
    return job(CHILD), here


def main() -> None:
    """Measure, and print a line for each job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("embedding_model")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="start,resident,generate,rows,embed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, texts = Path(folder, "rows.jsonl"), Path(folder, "texts.txt")
        rows.write_text("".join(json.dumps({"prompt": f"Write about the number {number}."}) + "\n" for number in range(64)))
        texts.write_text("".join(f"A short text about the number {number} and its friends.\n" for number in range(1000)))
        run = ["run", "-m", given.model, "-t", str(given.threads), "--temp", "0", "--ignore-eos", "--draft", "0"]
        embed = ["embed", "-m", given.embedding_model, "-t", str(given.threads), "--input", str(texts)]
        speed = r"generated \d+ tokens at ([\d.,]+) tokens/s"
        jobs: dict[str, Callable[[list[str]], float]] = {
            "start": lambda program: wall([*program, *run, "-n", "1", "Hello"]),
            "generate": lambda program: said([*program, *run, "-n", "256", "--stats", "Tell me a story."], speed),
            "rows": lambda program: said(
                [*program, *run, "-n", "32", "--input", str(rows), "--output", os.devnull], r"([\d.,]+) tokens/s · [\d.]+ s"
            ),
            "embed": lambda program: 1000 / wall([*program, *embed, "--raw", "f32"]),
        }
        for name in given.only.split(","):
            if name == "resident":
                bench_resident(CHILD, run, 3 * given.pairs)
                continue
            pairs = [pair(jobs[name], is_first=number % 2 == 0) for number in range(given.pairs)]
            child, here = (statistics.median(column) for column in zip(*pairs, strict=True))
            if name == "start":
                more = statistics.median(one - other for one, other in pairs)
                print(f"{name:9} child {child * 1e3:8.0f} ms   here {here * 1e3:8.0f} ms   {more * 1e3:+.0f} ms")
            else:
                ratio = statistics.median(one / other for one, other in pairs)
                print(f"{name:9} child {child:8.1f} /s   here {here:8.1f} /s   {ratio:.3f}")


if __name__ == "__main__":
    main()
