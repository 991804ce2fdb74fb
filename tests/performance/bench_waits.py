"""How long a waiting thread spins before it sleeps: whole runs of `llamacli run` with several counts, beside busy programs.

    python tests/performance/bench_waits.py MODEL [--spins own,1000,300000] [--busy 0,1] [--rounds 7] [--tokens 160]

`own` follows the load, as llamacli does; numbers are for GNU OpenMP, the last one its default. The runs take turns, and draft
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess

import peers
from bench_threads import busy_programs

PROMPT = "Write an essay about the history of the sea."


def speeds(model: str, spins: str, tokens: int) -> tuple[float, float]:
    """Return the tokens per second of generation and of the prompt in one run of the program."""
    options = ["--temp", "0", "--ignore-eos", "-n", str(tokens), "--draft", "off", "--no-prompt-cache", "--json"]
    done = subprocess.run(
        [*peers.LLAMACLI, "run", "-m", model, *options, PROMPT],
        env={**os.environ, **({} if spins == "own" else {"GOMP_SPINCOUNT": spins})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    timings = json.loads(done.stdout)["timings"]
    return timings["predicted_per_second"], timings["prompt_per_second"]


def main() -> None:
    """Measure every count by turns, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--spins", default="own,1000,300000")
    parser.add_argument("--busy", default="0,1")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=160)
    arguments = parser.parse_args()
    counts = arguments.spins.split(",")
    for busy in map(int, arguments.busy.split(",")):
        found: dict[str, list[tuple[float, float]]] = {spins: [] for spins in counts}
        with busy_programs(busy):
            for number in range(arguments.rounds):
                for spins in counts if number % 2 == 0 else counts[::-1]:
                    found[spins].append(speeds(arguments.model, spins, arguments.tokens))
        for spins in counts:
            generation, prompt = (statistics.median(values) for values in zip(*found[spins], strict=True))
            print(f"{busy} busy  {spins:>7} spins  generation {generation:6.1f} tokens/s  prompt {prompt:7.1f} tokens/s")


if __name__ == "__main__":
    main()
