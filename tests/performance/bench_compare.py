"""Can `bench compare` be trusted on this machine? The same model against itself, and against itself with a planted slowdown.

    tests/performance/bench_compare.py MODEL [--comparisons 10] [--rounds 40] [--slower 5] [--design rounds|runs] [-- OPTIONS]

`rounds`: one run each, with two settings (--poll 50,51) that make no difference and take turns. `runs`: short runs that take
turns, as for two builds of a program. The slowdown is a busy loop after each repetition; the options are those of `bench`.
Histories are kept in a folder that is removed again.
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

import peers

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
    """Runs a command line in a history of its own; what it writes. With `slower`, tests with that poll lose so many percent."""
    environment = {**os.environ, "LLAMACLI_DATA_DIR": folder, "PYTHONPATH": str(peers.ROOT)}
    extra = 1 / (1 - slower / 100) - 1
    command = [sys.executable, "-c", CHILD, str(extra), str(poll), *words]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def compare_rounds(bench: list[str], rounds: int, slower: float) -> list[str]:
    """One run with two settings that take turns; the verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        llamacli(folder, *bench, "--poll", "50,51", "-r", str(rounds), slower=slower)
        return verdicts(llamacli(folder, "bench", "compare", "last:poll=50", "last:poll=51", "--json"))


def compare_runs(bench: list[str], rounds: int, slower: float) -> list[str]:
    """Short runs that take turns; the verdicts. Every other pair goes the other way round."""
    sides: tuple[list[str], list[str]] = ([], [])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2 * PAIRS):
            side = (number + number // 2) % 2
            llamacli(folder, *bench, "--poll", "50", "-r", str(max(2, rounds // PAIRS)), slower=slower * side, poll=50)
            sides[side].append(str(number + 1))
        return verdicts(llamacli(folder, "bench", "compare", *("+".join(side) for side in sides), "--json"))


def verdicts(document: str) -> list[str]:
    """The verdict of each test; the ratio, too, for whoever watches."""
    tests = json.loads(document)["tests"]
    for test in tests:
        low, high = test["interval"]
        print(f"  {test['test']}: {test['ratio']:.3f} ({low:.3f} – {high:.3f}) {test['verdict']}", flush=True)
    return [test["verdict"] for test in tests]


def main() -> None:
    """Compares so many times, and tells how often there was an alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--comparisons", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--slower", type=float, default=5.0)
    parser.add_argument("--design", choices=("rounds", "runs"), default="rounds")
    parser.add_argument("options", nargs="*", default=[])
    arguments = parser.parse_args()
    options = arguments.options or ["-p", "64", "-n", "16"]
    bench = ["bench", "-m", str(arguments.model), "-o", "none", *options]
    compare = compare_rounds if arguments.design == "rounds" else compare_runs
    for what, slower in (("the same", 0.0), (f"{arguments.slower:g} % slower", arguments.slower)):
        found: Counter[str] = Counter()
        for _ in range(arguments.comparisons):
            found.update(compare(bench, arguments.rounds, slower))
        print(f"{what}, verdicts in {arguments.comparisons} comparisons: {dict(found)}")


if __name__ == "__main__":
    main()
