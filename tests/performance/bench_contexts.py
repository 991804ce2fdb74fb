"""Rows on a context of one thread for each core, which share the weights of a model, against one context of all threads.

    python tests/performance/bench_contexts.py [MODEL...] [--widths 64,256] [--rows 8,16] [--pairs 5] [--tokens 64]

Each row has a prompt of 128 tokens of its own and generates, one step after the other; the contexts of one thread have equal
shares of the rows. Besides the models, generated ones of the given widths are measured. A ratio below 1 means that a context
for each core takes less time. The logits of both are compared to the bit.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from peers import interleaved

from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import tiny

CORES = len(os.sched_getaffinity(0))
PROMPT = 128


def generate(context: Context, prompts: Sequence[list[int]], steps: int) -> list[bytes]:
    """Evaluate the prompts and then single tokens of each, and return a hash of the last logits of each row."""
    context.clear()
    count = len(prompts)
    for row, tokens in enumerate(prompts):
        context.decode(tokens, list(range(PROMPT)), [row] * PROMPT, [0] * (PROMPT - 1) + [1])
    for step in range(steps):
        given = [tokens[step % PROMPT] for tokens in prompts]
        context.decode(given, [PROMPT + step] * count, list(range(count)), [1] * count)
    return [hashlib.blake2b(context.logits(row)).digest() for row in range(count)]


def rows_of(model: Model, count: int) -> list[list[int]]:
    """Return prompts of random letters, the same in every run."""
    draw = random.Random(count)
    letters = "abcdefghijklmnopqrstuvwxyz "
    texts = ("".join(draw.choices(letters, k=8 * PROMPT)) for _ in range(count))
    return [list(model.vocabulary.tokenize(text))[:PROMPT] for text in texts]


def compare(model: Model, count: int, options: argparse.Namespace) -> str:
    """Return the seconds of both ways, their ratio, and whether the logits are the same."""
    prompts = rows_of(model, count)
    shares = [prompts[core::CORES] for core in range(CORES)]
    logits: dict[str, list[bytes]] = {}
    with ExitStack() as stack:
        size = PROMPT + options.tokens

        def context(rows: int, threads: int) -> Context:
            return stack.enter_context(Context(model, ContextParams(n_ctx=size, n_seq_max=rows, threads=threads)))

        together, apart = context(count, CORES), [context(len(share), 1) for share in shares]
        pool = stack.enter_context(ThreadPoolExecutor(CORES))

        def on_each_core() -> float:
            started = time.perf_counter()
            found = list(pool.map(generate, apart, shares, [options.tokens] * CORES))
            seconds = time.perf_counter() - started
            logits["apart"] = [found[row % CORES][row // CORES] for row in range(count)]
            return seconds

        def on_one() -> float:
            started = time.perf_counter()
            logits["together"] = generate(together, prompts, options.tokens)
            return time.perf_counter() - started

        found = interleaved(on_each_core, on_one, options.pairs)
    same = "the same logits" if logits["apart"] == logits["together"] else "OTHER LOGITS"
    return f"{count:3} rows, seconds of a context for each core against one: {found}   {same}"


def models(options: argparse.Namespace, folder: Path) -> Iterator[Path]:
    """Yield the files to measure."""
    for width in options.widths.split(",") if options.widths else ():
        size = int(width)
        yield tiny.tiny_model(folder / f"width-{size}.gguf", layers=4, width=size, feed_forward=2 * size)
    yield from options.models


def main() -> None:
    """Print a line for each model and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--widths", default="64,256", help="comma-separated widths of generated models; empty for none")
    parser.add_argument("--rows", default="8,16", help="comma-separated numbers")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in models(options, Path(folder)):
            with Model(path) as model:
                for count in map(int, options.rows.split(",")):
                    print(f"{path.name:32} {compare(model, count, options)}", flush=True)


if __name__ == "__main__":
    main()
