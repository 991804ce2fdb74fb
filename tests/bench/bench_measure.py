"""`llamacli bench` against llama-bench on the same file, by turns: the figures have to agree.

python tests/bench/bench_measure.py MODEL [--pairs 5] [--repetitions 3] [-p 512] [-n 128] [-d 0]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import peers


def rates(command: list[str | Path]) -> list[float]:
    """Tokens per second of each test, as the program says in its JSON."""
    rows = json.loads(peers.run([*command, "-o", "json"], PYTHONPATH=str(peers.ROOT)).output)
    return [float(row["avg_ts"]) for row in rows]


def main() -> None:
    """Prints one line a test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=lambda text: str(Path(text).resolve()))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--repetitions", default="3")
    for name, default in (("-p", "512"), ("-n", "128"), ("-d", "0")):
        parser.add_argument(name, default=default)
    options = parser.parse_args()
    same = ["-m", options.model, "-p", options.p, "-n", options.n, "-d", options.d, "-r", options.repetitions]
    ours: list[str | Path] = [sys.executable, "-m", "llamacli", "bench", "--no-save", *same]
    theirs: list[str | Path] = [peers.program("llama-bench"), *same]
    pairs = []
    for number in range(options.pairs):
        order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        found = {id(command): rates(command) for command in order}
        pairs.append((found[id(ours)], found[id(theirs)]))
    for test, name in enumerate(json_names(same)):
        left, right = ([pair[side][test] for pair in pairs] for side in (0, 1))
        ratios = sorted(our / their for our, their in zip(left, right, strict=True))
        print(
            f"{name:16} ours {statistics.median(left):8.2f}  llama-bench {statistics.median(right):8.2f}  "
            f"ratio {statistics.median(ratios):.4f} ({ratios[0]:.4f} to {ratios[-1]:.4f})",
            flush=True,
        )


def json_names(options: list[str]) -> list[str]:
    """What the tests are called: one cheap repetition tells."""
    command = [sys.executable, "-m", "llamacli", "bench", "--no-save", "--no-warmup", *options[:-1], "1", "-o", "json"]
    return [str(row["test"]) for row in json.loads(peers.run(command, PYTHONPATH=str(peers.ROOT)).output)]


if __name__ == "__main__":
    main()
