"""Generation and prompt processing against llama-bench, interleaved, both as fresh processes.

    python tests/performance/bench_generate.py MODEL [--pairs 7] [--threads N]

Ratios above 1 mean that ours is faster, or for memory that ours uses more.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import sys
from pathlib import Path

import peers

CHILD = r"""
import json, sys
from pathlib import Path
from llamacli.engine.runtime.context import Context
from llamacli.engine.events import Finished, Token
from llamacli.engine.runtime.model import Model
from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.generation.request import Request
import time

path, prompt, predict, threads, sampled = sys.argv[1], *map(int, sys.argv[2:6])
sampling = SamplingParams(ignore_eos=True, seed=1, **({} if sampled else {"temperature": 0}))
model = Model(Path(path))
with Context(model, ContextParams(n_ctx=max(256, prompt + predict + 8), threads=threads)) as context:
    tokens = tuple(100 + 7 * i % 1000 for i in range(prompt))
    def generate(count, prompt):
        scheduler.submit(Request(prompt=prompt, params=GenerationParams(max_tokens=count, sampling=sampling)))
        times = []
        for event in scheduler.run():
            if isinstance(event, Token):
                times.append(time.perf_counter())
            elif isinstance(event, Finished):
                end = event
        return end, times
    scheduler = Scheduler(context)
    generate(2, tokens)  # warm up, as llama-bench does
    scheduler.reset()
    end, times = generate(predict, tokens)
    print(json.dumps({
        "pp": end.timings.prompt_per_second, "n": end.usage.completion_tokens,
        "tg": (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0,
    }))
"""


def ours(model: str, prompt: int, predict: int, threads: int, *, sampled: bool = False) -> tuple[dict[str, float], int]:
    """Return the tokens per second and the peak memory of our engine in a fresh process."""
    command = [sys.executable, "-P", "-c", CHILD, model, str(prompt), str(predict), str(threads), str(int(sampled))]
    result = peers.run(command)
    return json.loads(result.output), result.peak


def theirs(model: str, prompt: int, predict: int, threads: int) -> tuple[float, int]:
    """Return the tokens per second and the peak memory of llama-bench, for one repetition after its warm-up."""
    sizes = ["-p", str(prompt), "-n", "0"] if prompt else ["-p", "0", "-n", str(predict)]
    command = [peers.program("llama-bench"), "-m", model, *sizes, "-t", str(threads), "-r", "1", "-o", "json"]
    result = peers.run(command)
    return float(json.loads(result.output)[0]["avg_ts"]), result.peak


def generation(model: str, predict: int, threads: int, *, sampled: bool) -> float:
    """Return our tokens per second."""
    return ours(model, 1, predict, threads, sampled=sampled)[0]["tg"]


def reference_generation(model: str, predict: int, threads: int) -> float:
    """Return the tokens per second of llama-bench."""
    return theirs(model, 0, predict, threads)[0]


def main() -> None:
    """Print one line for each test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: str(Path(text).resolve()))
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    model, threads = options.model, options.threads
    for predict, sampled in itertools.product((64, 256, 1024), (False, True)):
        ours_now = functools.partial(generation, model, predict, threads, sampled=sampled)
        theirs_now = functools.partial(reference_generation, model, predict, threads)
        result = peers.interleaved(ours_now, theirs_now, options.pairs)
        print(f"tg{predict:<5}{'sampled' if sampled else 'greedy ':8} tokens/s  {result}", flush=True)
    result = peers.interleaved(
        lambda: ours(model, 512, 1, threads)[0]["pp"], lambda: theirs(model, 512, 0, threads)[0], options.pairs
    )
    print(f"pp512          tokens/s  {result}", flush=True)
    memory = peers.interleaved(
        lambda: ours(model, 512, 1, threads)[1] / 2**20, lambda: theirs(model, 512, 0, threads)[1] / 2**20, 3
    )
    print(f"peak memory    MiB       {memory}   difference {memory.ours - memory.theirs:+.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
