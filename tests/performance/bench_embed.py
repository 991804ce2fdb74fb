"""Texts per second of `llamacli embed` as whole processes, against llama-embedding and installed Python libraries.

    python tests/performance/bench_embed.py [--texts 1000] [--rounds 5] [--model FILE] [--python PYTHON]... [--weights FOLDER]
                                      [--save FILE] [--only NAME]...

Sentences of mixed length (3 to 120 words) are turned into vectors by all-MiniLM-L6-v2, or by `--model`. llama-embedding, built
from the same tree, runs with its default and with four sizes of micro-batch. Each `--python` is an interpreter that may have
llama-cpp-python, sentence-transformers or onnxruntime; the latter two need `--weights`, the folder of the model (with
`config.json`; for onnxruntime also `model.onnx` and `tokenizer.json`). Programs are interleaved, so that a busy machine slows
them alike; ratios are medians over the rounds. With `--save` the times are stored in a file and added to those already in it,
so that a long measurement can be made in short pieces. `--only` selects the programs whose names begin with its value.

The last line is the distribution of our time over loading, tokenizing, evaluating and writing, measured in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import peers

from llamacli.engine.embedding.outcome import Embedded
from llamacli.engine.runtime.hardware import default_threads
from llamacli.store.models import catalogue

MICRO_BATCHES = (256, 512, 1024, 2048)
LIMIT = 1.15
"""Required ratio of our speed to that of llama-embedding, at its default and at its best."""

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


ONNXRUNTIME = """
import sys
from pathlib import Path
import numpy, onnxruntime, tokenizers
weights, texts, threads = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
session = onnxruntime.InferenceSession(Path(weights, "model.onnx"), options)
tokenizer = tokenizers.Tokenizer.from_file(str(Path(weights, "tokenizer.json")))
tokenizer.enable_truncation(256)
tokenizer.enable_padding()
lines = sorted(open(texts, encoding="utf-8").read().splitlines(), key=len)
names, count = {one.name for one in session.get_inputs()}, 0
for start in range(0, len(lines), 32):
    batch = tokenizer.encode_batch(lines[start:start + 32])
    ids, mask = (numpy.array([getattr(one, name) for one in batch]) for name in ("ids", "attention_mask"))
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
    (rows, *_) = session.run(None, {name: array for name, array in given.items() if name in names})
    weighed = (rows * mask[..., None]).sum(1) / mask.sum(1)[:, None]
    count += len(weighed / numpy.linalg.norm(weighed, axis=1, keepdims=True))
print(count)
"""


def main() -> int:
    """Measure and report; return 1 if a required ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, default=catalogue.EMBEDDING_DEMO.path)
    parser.add_argument("--python", type=Path, action="append", default=[])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--only", action="append", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.txt"
        texts.write_text("".join(f"{sentence}\n" for sentence in sentences(options.texts)), encoding="utf-8")
        commands = own_commands(options.model, texts) | library_commands(options, texts)
        wanted = ("llamacli", *(options.only or [""]))
        commands = {name: command for name, command in commands.items() if name.startswith(wanted)}
        times = saved(options.save)
        for number in range(options.rounds + 1):
            for name, command in commands.items():
                run = peers.run(command)
                if number:  # the first round warms the caches
                    times.setdefault(name, []).append(run.seconds)
        if options.save:
            options.save.write_text(json.dumps(times), encoding="utf-8")
        status = report(times, options.texts)
        where_the_time_goes(options.model, texts)
    return status


def saved(path: Path | None) -> dict[str, list[float]]:
    """Return the times of earlier pieces."""
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}


def own_commands(model: Path, texts: Path) -> dict[str, list[str | Path]]:
    """Return our command, and the variants of llama-embedding."""
    threads = str(default_threads())
    program = peers.program("llama-embedding")
    base: list[str | Path] = [program, "-m", model, "-f", texts, "-t", threads, "--embd-output-format", "raw", "-lv", "0"]
    commands: dict[str, list[str | Path]] = {
        "llamacli embed": [*peers.LLAMACLI, "embed", "-m", model, "--input", texts, "-t", threads],
        "llama-embedding": base,
    }
    for size in map(str, MICRO_BATCHES):
        commands[f"llama-embedding -ub {size}"] = [*base, "-c", size, "-b", size, "-ub", size]
    return commands


def library_commands(options: argparse.Namespace, texts: Path) -> dict[str, list[str | Path]]:
    """Return the commands for the libraries of the other interpreters."""
    threads, weights = str(default_threads()), options.weights
    libraries = [("llama-cpp-python", "llama_cpp", LLAMA_CPP_PYTHON, options.model)]
    if weights:
        libraries.append(("sentence-transformers", "sentence_transformers", SENTENCE_TRANSFORMERS, weights))
    if weights and (weights / "model.onnx").exists():
        libraries.append(("onnxruntime", "onnxruntime", ONNXRUNTIME, weights))
    return {
        name: [python, "-c", code, model, texts, threads]
        for name, module, code, model in libraries
        for python in options.python
        if has(python, module)
    }


def has(python: Path, module: str) -> bool:
    """Return whether an interpreter has a library."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def sentences(count: int) -> list[str]:
    """Return sentences of 3 to 120 common words, most of them short."""
    draw = random.Random(1)
    lengths = (min(120, max(3, round(draw.lognormvariate(2.8, 0.8)))) for _ in range(count))
    return [" ".join(draw.choices(WORDS.split(), k=length)).capitalize() + "." for length in lengths]


def report(times: dict[str, Sequence[float]], texts: int) -> int:
    """Print a line for each program and the required ratios; return 1 if one is missed."""
    ours = times["llamacli embed"]
    ratios = {}
    for name, seconds in times.items():
        ratios[name] = statistics.median(theirs / own for own, theirs in zip(ours, seconds, strict=False))
        rate = texts / statistics.median(seconds)
        print(f"{name:26} {rate:8.1f} texts/s   llamacli is {ratios[name]:6.2f} x as fast   ({len(seconds)} runs)")
    least = min(ratio for name, ratio in ratios.items() if name.startswith(("llama-embedding", "llama-cpp")))
    print(f"required: {least:.2f} of {LIMIT}")
    return int(least < LIMIT)


def where_the_time_goes(model: Path, texts: Path) -> None:
    """Print the parts of our time, measured sequentially in one process; in the command they overlap."""
    started = time.perf_counter()
    from llamacli.batch.vector_json import json_vector
    from llamacli.engine.embedding.embedder import Embedder

    imported = time.perf_counter()
    lines = texts.read_text(encoding="utf-8").splitlines()
    with Embedder(model) as embedder:
        loaded = time.perf_counter()
        tokens = sum(len(embedder.model.vocabulary.tokenize(line)) for line in lines)
        tokenized = time.perf_counter()
        outcomes = list(embedder.embed(lines))
        evaluated = time.perf_counter()
        written = sum(len(json_vector(one.vectors, nested=False)) for one in outcomes if isinstance(one, Embedded))
        ended = time.perf_counter()
    parts = (("importing", imported - started), ("loading", loaded - imported), ("tokenizing", tokenized - loaded),
             ("tokenizing and evaluating", evaluated - tokenized), ("writing", ended - evaluated))  # fmt: skip
    print(f"{tokens:,} tokens, {written:,} bytes: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts))


if __name__ == "__main__":
    if not shutil.which("cmake") and "LLAMACLI_BENCH_PEERS" not in os.environ:
        sys.exit("cannot build llama-embedding: cmake is not installed, and LLAMACLI_BENCH_PEERS is not set")
    sys.exit(main())
