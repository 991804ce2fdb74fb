"""Texts per second of `llamacli embed`, as whole processes beside llama-embedding, and beside Python libraries where they are.

    python tests/bench/bench_embed.py [--texts 1000] [--rounds 5] [--model FILE] [--python PYTHON] [--weights FOLDER]

Sentences of mixed length (3 to 120 words) are turned into vectors by all-MiniLM-L6-v2, or by `--model`. llama-embedding, built
from the same tree, runs at its own default and at four sizes of micro-batch. `--python` is an interpreter that may have
llama-cpp-python and sentence-transformers; the latter needs `--weights`, the folder that the model comes in (with
`config.json`). Programs take turns, so that a busy machine slows them alike; ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import peers

from llamacli.engine.hardware import default_threads
from llamacli.store import catalogue

MICRO_BATCHES = (256, 512, 1024, 2048)
DEFAULT_LIMIT, BEST_LIMIT = 1.15, 1.0
"""How many times the texts per second of llama-embedding are asked for, at its default and at its best."""

WORDS = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you"
    " were all her she there would their we him been has when who will no more if out so up said what its about than into"
    " them can only other time new some could these two may first then do any like my now over such our man me even most"
    " made after also did many off before must well back through years much where your way down should because long each"
)

LLAMA_CPP_PYTHON = """
import sys
from llama_cpp import Llama
model, texts, threads = sys.argv[1:]
threads = {"n_threads": int(threads), "n_threads_batch": int(threads)}
llama = Llama(model, embedding=True, n_ctx=512, n_batch=512, n_ubatch=512, verbose=False, **threads)
print(len(llama.create_embedding(open(texts, encoding="utf-8").read().splitlines())["data"]))
"""
SENTENCE_TRANSFORMERS = """
import sys
import torch
from sentence_transformers import SentenceTransformer
weights, texts, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
print(len(SentenceTransformer(weights, device="cpu").encode(open(texts, encoding="utf-8").read().splitlines())))
"""


def main() -> int:
    """Measures and reports. Returns 1 if llama-embedding is too near."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, default=catalogue.EMBEDDING_DEMO.path)
    parser.add_argument("--python", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.txt"
        texts.write_text("".join(f"{sentence}\n" for sentence in sentences(options.texts)), encoding="utf-8")
        commands = own_commands(options.model, texts) | library_commands(options, texts)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(options.rounds + 1):
            for name, command in commands.items():
                seconds = peers.run(command).seconds
                if number:  # the first round fills the caches
                    times[name].append(seconds)
    return report(times, options.texts)


def own_commands(model: Path, texts: Path) -> dict[str, list[str | Path]]:
    """Our command, and llama-embedding in its variants."""
    threads = str(default_threads())
    program = peers.program("llama-embedding")
    base: list[str | Path] = [program, "-m", model, "-f", texts, "-t", threads, "--embd-output-format", "raw", "-lv", "0"]
    commands: dict[str, list[str | Path]] = {
        "llamacli embed": [sys.executable, "-m", "llamacli", "embed", "-m", model, "--input", texts, "-t", threads],
        "llama-embedding": base,
    }
    for size in map(str, MICRO_BATCHES):
        commands[f"llama-embedding -ub {size}"] = [*base, "-c", size, "-b", size, "-ub", size]
    return commands


def library_commands(options: argparse.Namespace, texts: Path) -> dict[str, list[str | Path]]:
    """What the other interpreter has."""
    threads, commands = str(default_threads()), {}
    if options.python and has(options.python, "llama_cpp"):
        commands["llama-cpp-python"] = [options.python, "-c", LLAMA_CPP_PYTHON, options.model, texts, threads]
    if options.python and options.weights and has(options.python, "sentence_transformers"):
        commands["sentence-transformers"] = [options.python, "-c", SENTENCE_TRANSFORMERS, options.weights, texts, threads]
    return commands


def has(python: Path, module: str) -> bool:
    """Whether an interpreter has a library."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def sentences(count: int) -> list[str]:
    """Texts of 3 to 120 common words, most of them short."""
    draw = random.Random(1)
    lengths = (min(120, max(3, round(draw.lognormvariate(2.8, 0.8)))) for _ in range(count))
    return [" ".join(draw.choices(WORDS.split(), k=length)).capitalize() + "." for length in lengths]


def report(times: dict[str, Sequence[float]], texts: int) -> int:
    """Prints a line for each, and whether the limits hold."""
    ours = times["llamacli embed"]
    ratios = {}
    for name, seconds in times.items():
        ratios[name] = statistics.median(theirs / own for own, theirs in zip(ours, seconds, strict=True))
        rate = texts / statistics.median(seconds)
        print(f"{name:26} {rate:8.1f} texts/s   llamacli is {ratios[name]:6.2f} x as fast")
    default = ratios["llama-embedding"]
    best = min(ratio for name, ratio in ratios.items() if name.startswith("llama-embedding -ub"))
    print(f"beside its default {default:.2f} (at least {DEFAULT_LIMIT}), beside its best {best:.2f} (at least {BEST_LIMIT})")
    return int(default < DEFAULT_LIMIT or best < BEST_LIMIT)


if __name__ == "__main__":
    os.chdir(peers.ROOT)
    if not shutil.which("cmake") and "LLAMACLI_BENCH_PEERS" not in os.environ:
        sys.exit("llama-embedding must be built: cmake is missing, and LLAMACLI_BENCH_PEERS is not set")
    sys.exit(main())
