"""The reliability of `bench compare` on this machine: a model against itself, without and with a planted slowdown.

    python tests/performance/bench_compare.py MODEL [--comparisons 10] [--rounds 40] [--slower 5] [--design rounds|runs]
                                               [-- OPTIONS]

`rounds`: one run with two equivalent settings (--poll 50,51), which are interleaved. `runs`: alternating short runs, as for two
builds of a program. The slowdown is a busy loop after each repetition; the options are those of `bench`. Histories are stored
in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

CHILD = """
import sys, time
from dataclasses import replace
from llamacli.cli import main
from llamacli.bench.measure.token_test import TokenTest

share, poll = float(sys.argv.pop(1)), int(sys.argv.pop(1))
measure = TokenTest._measure

def slowed(self, *arguments):
    sample = measure(self, *arguments)
    if self.test.poll != poll:
        return sample
    started = time.perf_counter_ns()
    while time.perf_counter_ns() - started < share * sample.total_ns:
        pass
    return replace(sample, total_ns=sample.total_ns + time.perf_counter_ns() - started)

TokenTest._measure = slowed
sys.exit(main())
"""
PAIRS = 10


def llamacli(folder: str, *words: str, slower: float = 0.0, poll: int = 51) -> str:
    """Run a command line with a separate history and return its output. Tests with that `poll` are `slower` by a percentage."""
    environment = {**os.environ, "LLAMACLI_DATA_DIR": folder}
    extra = 1 / (1 - slower / 100) - 1
    command = [sys.executable, "-P", "-c", CHILD, str(extra), str(poll), *words]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def compare_rounds(bench: list[str], rounds: int, slower: float) -> list[str]:
    """Run two interleaved settings once; return the verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        llamacli(folder, *bench, "--poll", "50,51", "-r", str(rounds), slower=slower)
        return verdicts(llamacli(folder, "bench", "compare", "last:poll=50", "last:poll=51", "--json"))


def compare_runs(bench: list[str], rounds: int, slower: float) -> list[str]:
    """Run alternating short runs, the order changing with each pair; return the verdicts."""
    sides: tuple[list[str], list[str]] = ([], [])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2 * PAIRS):
            side = (number + number // 2) % 2
            llamacli(folder, *bench, "--poll", "50", "-r", str(max(2, rounds // PAIRS)), slower=slower * side, poll=50)
            sides[side].append(str(number + 1))
        return verdicts(llamacli(folder, "bench", "compare", *("+".join(side) for side in sides), "--json"))


def verdicts(document: str) -> list[str]:
    """Print the ratio of each test and return the verdicts."""
    tests = json.loads(document)["tests"]
    for test in tests:
        low, high = test["interval"]
        print(f"  {test['test']}: {test['ratio']:.3f} ({low:.3f} – {high:.3f}) {test['verdict']}", flush=True)
    return [test["verdict"] for test in tests]


def main() -> None:
    """Compare repeatedly, and print the number of each verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--comparisons", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--slower", type=float, default=5.0)
    parser.add_argument("--design", choices=("rounds", "runs"), default="rounds")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:end])
    options = words[end + 1 :] or ["-p", "64", "-n", "16"]
    bench = ["bench", "-m", str(arguments.model), "-o", "none", *options]
    compare = compare_rounds if arguments.design == "rounds" else compare_runs
    for what, slower in (("identical", 0.0), (f"{arguments.slower:g} % slower", arguments.slower)):
        found: Counter[str] = Counter()
        for _ in range(arguments.comparisons):
            found.update(compare(bench, arguments.rounds, slower))
        print(f"{what}, verdicts in {arguments.comparisons} comparisons: {dict(found)}")


if __name__ == "__main__":
    main()
