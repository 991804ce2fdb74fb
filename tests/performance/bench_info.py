"""The time of `info` against gguf-dump, and the error of `info --fit` against the memory that `run` uses.

    python tests/performance/bench_info.py speed [--file GGUF] [--rounds N]
    python tests/performance/bench_info.py fit --model GGUF

`speed` needs the package `gguf`, and a vocabulary of 250,000 tokens, which is in llama.cpp's tree. It prints medians, and fails
above 0.25 s for the process or 0.03 s for reading the header, or below 30 times the speed of gguf-dump. `fit` runs 20
configurations of a model on prompts that fill several batches, and fails if an estimate is wrong by more than 5 %. The machine
should be idle for `speed`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import LLAMACLI, TREE, run

from llamacli.gguf.parser.header import read_header
from llamacli.gguf.source import FileSource

VOCABULARY = TREE / "models/ggml-vocab-gemma-4.gguf"
PROCESS_LIMIT, READING_LIMIT, DUMP_RATIO, FIT_LIMIT = 0.25, 0.03, 30.0, 0.05

SENTENCE, SENTENCE_TOKENS = "The quick brown fox jumps over the lazy dog. ", 10
LONGEST_PROMPT = 2048
"""Tokens; a prompt that nearly fills the context, or several batches, uses all reserved memory."""

CONFIGURATIONS: tuple[tuple[str, ...], ...] = (
    *(("-c", size) for size in ("1024", "2048", "4096", "8192")),
    *(("-c", size, "-ctk", "q8_0", "-ctv", "q8_0") for size in ("1024", "4096", "8192")),
    *(("-c", size, "-ctk", "f32", "-ctv", "f32") for size in ("2048", "8192")),
    *(("-c", size, "-ctk", "q4_0", "-ctv", "q4_0") for size in ("2048", "8192")),
    *(("-c", "4096", "-ub", size) for size in ("64", "128", "256", "1024")),
    *(("-c", "4096", "-b", size, "-ub", size) for size in ("128", "512")),
    *(("-c", size, "-fa", "off") for size in ("1024", "2048")),
    ("-c", "4096", "--no-mmap"),
)


def main() -> int:
    """Run one of the two comparisons; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", choices=("speed", "fit"))
    parser.add_argument("--file", type=Path, default=VOCABULARY)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    if options.comparison == "speed":
        return speed(options.file, options.rounds)
    if options.model is None:
        parser.error("fit needs --model")
    return fit(options.model)


def speed(file: Path, rounds: int) -> int:
    """Time the process, the reading of the header, and gguf-dump."""
    dump = (sys.executable, "-m", "gguf.scripts.gguf_dump", file)
    processes, readings, dumps = [], [], []
    for number in range(rounds):
        processes.append(run((*LLAMACLI, "info", file)).seconds)
        started = time.perf_counter()
        with FileSource(file) as source:
            read_header(source)
        readings.append(time.perf_counter() - started)
        if number < 3:
            dumps.append(run(dump).seconds)
    process, reading, other = (statistics.median(times) for times in (processes, readings, dumps))
    print(f"info       {process:8.3f} s   best {min(processes):.3f} s")
    print(f"  reading  {reading:8.3f} s   best {min(readings):.3f} s")
    print(f"gguf-dump  {other:8.3f} s   {other / process:.0f} times as long")
    return int(process > PROCESS_LIMIT or reading > READING_LIMIT or other / process < DUMP_RATIO)


def fit(model: Path) -> int:
    """Compare the estimate of `--fit` with the peak resident memory of `run`, for each configuration."""
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        prompt = Path(folder) / "prompt.txt"
        for options in CONFIGURATIONS:
            tokens = min(int(options[1]), LONGEST_PROMPT) * 9 // 10
            prompt.write_text(SENTENCE * (tokens // SENTENCE_TOKENS))
            report = json.loads(subprocess.check_output([*LLAMACLI, "info", model, "--fit", "--json", *options]))
            taken = run((*LLAMACLI, "run", "-m", model, "--raw", "-f", prompt, "-n", "4", "--temp", "0", *options)).peak
            off = report["total"] / taken - 1
            worst = max(worst, abs(off))
            print(
                f"{' '.join(options):40} estimate {report['total'] / 2**20:8.1f} MiB  run {taken / 2**20:8.1f} MiB  {off:+6.1%}"
            )
    print(f"worst of {len(CONFIGURATIONS)}: {worst:.1%}")
    return int(worst > FIT_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
