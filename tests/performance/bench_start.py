"""Start-up times as interleaved medians and ratios: on a noisy machine only neighbouring runs can be compared.

    python tests/performance/bench_start.py [--rounds N] [--program 'python -P -m llamacli']
                                            [--model FILE --reference llama-completion]

With a model and llama.cpp's own `llama-completion`, built from the same tree, `run -n 1` is compared with that as well. Prints
one line for each command, and fails if `--version` takes more than 3 times as long as `python -c pass`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import time

import peers

VERSION_LIMIT = 3.0


def main() -> int:
    """Measure and report; return 1 if the limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--program", default=shlex.join(peers.LLAMACLI))
    parser.add_argument("--model")
    parser.add_argument("--reference")
    options = parser.parse_args()
    program, bare = shlex.split(options.program), [sys.executable, "-c", "pass"]
    commands = {
        "python -c pass": bare,
        "import typer": [sys.executable, "-c", "import typer"],
        "--version": [*program, "--version"],
        "--help": [*program, "--help"],
        "run --help": [*program, "run", "--help"],
        "usage error": [*program, "run", "-n", "x"],
    }
    if options.model:
        commands["run -n 1"] = [*program, "run", "-m", options.model, "--raw", "-n", "1", "--temp", "0", "Hello"]
        if options.reference:
            commands["reference -n 1"] = [
                options.reference, "-m", options.model, "-no-cnv", "-n", "1", "--temp", "0", "-p", "Hello",
            ]  # fmt: skip
    times = measure(commands, options.rounds)
    base = statistics.median(times["python -c pass"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:16} {1e3 * median:8.1f} ms  {median / base:6.2f} x python -c pass")
    if "reference -n 1" in times:
        print(f"run -n 1 takes {ratio(times['run -n 1'], times['reference -n 1']):.2f} x the reference")
    version = ratio(times["--version"], times["python -c pass"])
    print(f"--version takes {version:.2f} x python -c pass; at most {VERSION_LIMIT} is allowed")
    return int(version > VERSION_LIMIT)


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each run. Every round runs each command once; a first round warms the caches and does not count."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(rounds + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
            if number:
                times[name].append(time.perf_counter() - started)
    return times


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios of runs in the same round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    sys.exit(main())
