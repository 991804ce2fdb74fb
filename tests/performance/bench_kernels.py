"""Our kernels against llama.cpp's in one process and build: speeds in turns, and how far the logits agree.

    python tests/performance/bench_kernels.py MODEL... [--threads 1,2] [--rounds 7] [--text FILE]

Ratios above 1 mean that ours are faster. The perplexities are those of the text's first windows of 512 tokens.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from llamacli.bench.measure.params import BenchTest
from llamacli.bench.measure.token_test import TokenTest, load_model
from llamacli.engine.params import ContextParams, Kernels
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model

KERNELS: tuple[Kernels, ...] = ("own", "upstream")
WINDOW = 512


def speeds(models: dict[Kernels, Model], threads: int, rounds: int) -> Iterator[str]:
    """Yield a line for each test: the medians in tokens per second, and their ratio."""
    for n_prompt, n_gen in ((WINDOW, 0), (0, 128)):
        with ExitStack() as stack:
            tests = {}
            for kernels, model in models.items():
                test = BenchTest(model=str(model.path), n_prompt=n_prompt, n_gen=n_gen, n_threads=threads, kernels=kernels)
                tests[kernels] = stack.enter_context(TokenTest(test, model))
                tests[kernels].warm_up()
            seconds: dict[Kernels, list[float]] = {kernels: [] for kernels in models}
            for _ in range(rounds):
                for kernels, prepared in tests.items():
                    seconds[kernels].append(prepared.run().total_ns / 1e9)
            own, upstream = ((n_prompt + n_gen) / statistics.median(seconds[kernels]) for kernels in KERNELS)
            name = f"pp{n_prompt}" if n_prompt else f"tg{n_gen}"
            yield f"{name:6} t{threads:<3} own {own:9.1f}   upstream {upstream:9.1f}   ratio {own / upstream:5.2f}"


def evaluate(model: Model, tokens: list[int], threads: int) -> np.ndarray:
    """Return the logits of each token of a window."""
    params = ContextParams(n_ctx=WINDOW, threads=threads, all_outputs=True)
    with Context(model, params) as context:
        count = len(tokens)
        context.decode(tokens, list(range(count)), [0] * count, [1] * count)
        return np.stack([np.array(context.logits(i), np.float32) for i in range(count)])


def agreement(models: dict[Kernels, Model], text: str, threads: int, windows: int) -> str:
    """Return how often both have the same first token, the largest difference of logits, and both perplexities."""
    tokens = models["own"].vocabulary.tokenize(text)
    same, positions, largest = 0, 0, 0.0
    losses: dict[Kernels, list[float]] = {kernels: [] for kernels in KERNELS}
    for start in range(0, min(len(tokens), windows * WINDOW) - WINDOW + 1, WINDOW):
        window = list(tokens[start : start + WINDOW])
        found = {kernels: evaluate(model, window, threads) for kernels, model in models.items()}
        same += int((found["own"].argmax(axis=1) == found["upstream"].argmax(axis=1)).sum())
        positions += WINDOW
        largest = max(largest, float(np.abs(found["own"] - found["upstream"]).max()))
        for kernels, logits in found.items():
            shifted = logits[:-1].astype(np.float64) - logits[:-1].max(axis=1, keepdims=True)
            chosen = shifted[np.arange(WINDOW - 1), window[1:]]
            losses[kernels] += list(np.log(np.exp(shifted).sum(axis=1)) - chosen)
    if not positions:
        return "the text has no whole window"
    own, upstream = (math.exp(statistics.fmean(losses[kernels])) for kernels in KERNELS)
    return (
        f"same first token {100 * same / positions:.2f} % of {positions}   largest difference of logits {largest:.3f}   "
        f"perplexity own {own:.4f}, upstream {upstream:.4f} ({100 * (own / upstream - 1):+.3f} %)"
    )


def main() -> None:
    """Print the speeds and the agreement of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=lambda text: str(Path(text).resolve()))
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))), help="comma-separated numbers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--text", type=Path, help="a text file; without it only speeds are measured")
    parser.add_argument("--windows", type=int, default=10)
    options = parser.parse_args()
    counts = [int(part) for part in options.threads.split(",")]
    for path in options.models:
        print(Path(path).name, flush=True)
        with ExitStack() as stack:
            models = {
                kernels: stack.enter_context(load_model(BenchTest(model=path, n_gen=1, kernels=kernels), CancelFlag()))
                for kernels in KERNELS
            }
            for threads in counts if options.rounds else ():
                for line in speeds(models, threads, options.rounds):
                    print("  " + line, flush=True)
            if options.text:
                text = options.text.read_text(encoding="utf-8")
                print("  " + agreement(models, text, counts[-1], options.windows), flush=True)


if __name__ == "__main__":
    main()
