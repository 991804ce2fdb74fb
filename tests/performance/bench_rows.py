"""Rows through one model: in parallel against one by one, llama-batched-bench, and a loop over llama-cpp-python.

    python tests/performance/bench_rows.py MODEL [--other PYTHON_WITH_LLAMA_CPP_PYTHON] [--parallel 16] [--pairs 3]
                                            [--threads N]

64 rows of about 128 + 64 tokens, also by a process of one thread on each core instead of one of all threads; then 32 questions
about one document of about 1,500 tokens, with and without a shared prefix.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import peers

CORES = sorted(os.sched_getaffinity(0))
WORDS = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state", "family",
    "student", "group", "country", "problem", "hand", "part",
]  # fmt: skip
LOOP = r"""
import json, sys, time
from llama_cpp import Llama
rows = [json.loads(line) for line in open(sys.argv[2])]
llm = Llama(sys.argv[1], n_ctx=512, n_threads=int(sys.argv[3]), verbose=False)
bias = {llm.token_eos(): -100.0, 0: -100.0}
started, tokens = time.perf_counter(), 0
for row in rows:
    used = llm(row["prompt"], max_tokens=64, temperature=0, logit_bias=bias)["usage"]
    tokens += used["total_tokens"]
print(tokens / (time.perf_counter() - started))
"""


def text(words: int, seed: int) -> str:
    """Return words in random order."""
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(words))


def ours(model: str, rows: Path, threads: int, parallel: str) -> tuple[float, float]:
    """Return the tokens per second, in and out, and the seconds of the summary, which exclude start and loading."""
    command = [
        *peers.LLAMACLI, "run", "-m", model, "--raw", "--input", str(rows), "--output", os.devnull,
        "--parallel", parallel, "-n", "64", "--temp", "0", "--ignore-eos", "-t", str(threads),
    ]  # fmt: skip
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    rate, seconds = re.findall(r"([\d.]+) tokens/s · ([\d.]+) s", result.stderr)[-1]
    return float(rate), float(seconds)


def rate(model: str, rows: Path, threads: int, parallel: str) -> float:
    """Return our tokens per second."""
    return ours(model, rows, threads, parallel)[0]


def split(model: str, rows: Path, cores: int, parallel: int) -> float:
    """Return the seconds of as many processes of one thread, each on a core and with its share of the rows."""
    lines, started = rows.read_text().splitlines(keepends=True), time.perf_counter()
    processes = []
    for core in range(cores):
        share = rows.with_name(f"share-{core}.jsonl")
        share.write_text("".join(lines[core::cores]))
        command = [
            *peers.LLAMACLI, "run", "-m", model, "--raw", "--input", str(share), "--output", os.devnull, "--parallel",
            str(parallel // cores), "-n", "64", "--temp", "0", "--ignore-eos", "-t", str(max(1, len(CORES) // cores)),
        ]  # fmt: skip
        pinned = CORES if cores == 1 else [CORES[core]]
        processes.append(subprocess.Popen(["taskset", "-c", ",".join(map(str, pinned)), *command], stderr=subprocess.DEVNULL))
    if any(process.wait() for process in processes):
        raise SystemExit("a process failed")
    return time.perf_counter() - started


def batched(model: str, threads: int, parallel: int) -> float:
    """Return the tokens per second of llama-batched-bench with that number of sequences of 128 + 64 tokens."""
    command = [
        peers.program("llama-batched-bench"), "-m", model, "-c", str(parallel * 192), "-b", "2048", "-ub", "512", "-npp", "128",
        "-ntg", "64", "-npl", str(parallel), "-t", str(threads), "--output-format", "jsonl",
    ]  # fmt: skip
    found = [json.loads(line) for line in peers.run(command).output.splitlines() if line.startswith("{")]
    return float(found[-1]["speed"])


def loop(python: str, model: str, rows: Path, threads: int) -> float:
    """Return the tokens per second of llama-cpp-python, row by row."""
    return float(peers.run([python, "-c", LOOP, model, str(rows), str(threads)]).output)


def main() -> None:
    """Print one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda name: str(Path(name).resolve()))
    parser.add_argument("--other")
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    model, threads, parallel = options.model, options.threads, str(options.parallel)
    with tempfile.TemporaryDirectory() as folder:
        rows, shared, unshared = (Path(folder) / name for name in ("rows.jsonl", "shared.jsonl", "unshared.jsonl"))
        rows.write_text("".join(json.dumps({"prompt": text(124, seed)}) + "\n" for seed in range(64)))
        document = text(1480, 1)
        questions = [{"prompt": f"{document}\nQuestion {i}: {text(6, i)}?", "max_tokens": 16} for i in range(32)]
        shared.write_text("".join(json.dumps(row) + "\n" for row in questions))
        apart = [{"prompt": f"{i} {row['prompt']}", "max_tokens": 16} for i, row in enumerate(questions)]
        unshared.write_text("".join(json.dumps(row) + "\n" for row in apart))
        mine: Callable[[], float] = partial(rate, model, rows, threads, parallel)
        compare = partial(peers.interleaved, mine, pairs=options.pairs)
        print(f"64 rows, against one by one      {compare(partial(rate, model, rows, threads, '1'))}", flush=True)
        print(f"64 rows, against batched-bench   {compare(partial(batched, model, threads, options.parallel))}", flush=True)
        whole = [partial(split, model, rows, cores, options.parallel) for cores in (len(CORES), 1)]
        print(
            f"64 rows, seconds of a process on each core against one {peers.interleaved(*whole, pairs=options.pairs)}",
            flush=True,
        )
        if options.other:
            print(
                f"64 rows, against llama-cpp-python {compare(partial(loop, options.other, model, rows, threads))}", flush=True
            )
        seconds = [partial(lambda path: ours(model, path, threads, parallel)[1], path) for path in (shared, unshared)]
        print(
            f"32 questions on one document, seconds shared against unshared {peers.interleaved(*seconds, pairs=1)}", flush=True
        )


if __name__ == "__main__":
    main()
