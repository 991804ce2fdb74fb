"""What `llamacli run` need not do again: the time of whole processes with the prompt cache, and without.

    python tests/performance/bench_reuse.py MODEL [--pairs 5] [--tokens 1650] [--only cache|rows]

Runs are interleaved, greedy, and their texts must be equal. Ratios below 1 mean that the reuse saves time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import peers

WORDS = "the model reads a long text about rivers and mountains before it answers a short question "


def run(arguments: list[str], cache: Path, stdin: str = "") -> tuple[float, str]:
    """Return the seconds of a process and its standard output."""
    environ = {**os.environ, "LLAMACLI_CACHE_DIR": str(cache), "LLAMACLI_PROMPT_CACHE": "on"}
    started = time.perf_counter()
    done = subprocess.run(
        [*peers.LLAMACLI, "run", *arguments], env=environ, input=stdin, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, done.stdout


def show(name: str, times: dict[str, list[float]], base: str) -> None:
    """Print the medians, and the median of the ratios to `base`."""
    for kind, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, times[base], strict=True))
        print(f"{name:16} {kind:10} {statistics.median(seconds):8.3f} s  {ratio:6.3f}", flush=True)


def bench_cache(model: Path, pairs: int, tokens: int, folder: Path) -> None:
    """Compare the same prompt without the cache, for the first time with it, and again."""
    text = " ".join((WORDS * (tokens // 15 + 1)).split()[:tokens])
    for n in (1, 32):
        times: dict[str, list[float]] = {"off": [], "first": [], "again": []}
        common = ["-m", str(model), "--raw", "--temp", "0", "-n", str(n), "--ignore-eos"]
        for pair in range(pairs):
            cache = folder / f"cache-{n}-{pair}"
            texts = set()
            for kind, flags in (("off", ["--no-prompt-cache"]), ("first", []), ("again", [])):
                seconds, shown = run([*common, *flags], cache, stdin=f"{pair} {text}")
                times[kind].append(seconds)
                texts.add(shown)
            assert len(texts) == 1, "the texts differ"
            shutil.rmtree(cache)
        show(f"cache, -n {n}", times, "off")


def bench_rows(model: Path, pairs: int, tokens: int, folder: Path) -> None:
    """Compare 32 questions on one document: each alone evaluated, shared, and the next day."""
    text = " ".join((WORDS * (tokens // 15 + 1)).split()[:tokens])
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"{text} Question {i}: why?"}) + "\n" for i in range(32)))
    times: dict[str, list[float]] = {"shared": [], "next day": []}
    for pair in range(pairs):
        cache = folder / f"rows-{pair}"
        shown = set()
        for measured in times.values():
            seconds, out = run(["-m", str(model), "--input", str(rows), "--temp", "0", "-n", "8", "--ignore-eos"], cache)
            measured.append(seconds)
            shown.add("".join(json.loads(line)["text"] for line in out.splitlines()))
        assert len(shown) == 1, "the texts differ"
    show("32 questions", times, "shared")


def main() -> None:
    """Print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=1650)
    parser.add_argument("--only", choices=("cache", "rows"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only in (None, "cache"):
            bench_cache(options.model, options.pairs, options.tokens, folder)
        if options.only in (None, "rows"):
            bench_rows(options.model, max(1, options.pairs // 2), options.tokens, folder)


if __name__ == "__main__":
    main()
