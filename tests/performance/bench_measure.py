"""`llamacli bench` against llama-bench on the same file, interleaved: the figures must agree.

On a shared machine the fastest repetitions are the most meaningful, as disturbances only slow them down. With --kernels own
the ratio is the gain of our kernels.

    python tests/performance/bench_measure.py MODEL [--pairs 5] [--repetitions 3] [-p 512] [-n 128] [-d 0] [--kernels upstream]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import peers

from llamacli.bench.statistics import signed_rank_interval


def rates(command: list[str | Path]) -> list[list[float]]:
    """Return the tokens per second of each test and repetition, from the program's JSON."""
    rows = json.loads(peers.run([*command, "-o", "json"]).output)
    return [row["samples_ts"] for row in rows]


def main() -> None:
    """Print one line for each test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: str(Path(text).resolve()))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no pair after this time")
    parser.add_argument("--repetitions", default="3")
    for name, default in (("-p", "512"), ("-n", "128"), ("-d", "0")):
        parser.add_argument(name, default=default)
    parser.add_argument("--kernels", default="upstream")
    options = parser.parse_args()
    same = ["-m", options.model, "-p", options.p, "-n", options.n, "-d", options.d, "-r", options.repetitions]
    ours: list[str | Path] = [*peers.LLAMACLI, "bench", "--no-save", "--kernels", options.kernels, *same]
    theirs: list[str | Path] = [peers.program("llama-bench"), *same]
    pairs = []
    started = time.monotonic()
    for number in range(options.pairs):
        if time.monotonic() - started > options.seconds:
            break
        order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        found = {id(command): rates(command) for command in order}
        pairs.append((found[id(ours)], found[id(theirs)]))
    for test, name in enumerate(json_names(same)):
        left, right = ([pair[side][test] for pair in pairs] for side in (0, 1))
        logarithms = [math.log(statistics.fmean(our) / statistics.fmean(their)) for our, their in zip(left, right, strict=True)]
        bounds = signed_rank_interval(logarithms, 0.95) or (min(logarithms), max(logarithms))
        low, high = (math.exp(bound) for bound in bounds)
        best = [max(max(samples) for samples in side) for side in (left, right)]
        middle = math.exp(statistics.median(logarithms))
        print(
            f"{name:12} ratio of means {middle:.4f} (median of {len(pairs)} pairs, 95 % interval {low:.4f} to {high:.4f}); "
            f"fastest {best[0]:.2f} and {best[1]:.2f}, ratio {best[0] / best[1]:.4f}",
            flush=True,
        )


def json_names(options: list[str]) -> list[str]:
    """Return the names of the tests, from one cheap repetition."""
    command = [*peers.LLAMACLI, "bench", "--no-save", "--no-warmup", *options[:-1], "1", "-o", "json"]
    return [str(row["test"]) for row in json.loads(peers.run(command).output)]


if __name__ == "__main__":
    main()
