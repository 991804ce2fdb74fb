"""`llamacli bench quality` against llama-perplexity: the same windows must give the same perplexity, no slower.

    python tests/performance/bench_quality.py MODEL [--windows 64] [--kernels own]

llama-perplexity runs with the batch sizes that are its fastest on a few windows, and has llama.cpp's kernels only: with
--kernels upstream the perplexities are equal. Times are those of whole processes.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path

import peers

from llamacli.bench.quality.text import shipped_text

SIZES = ((2048, 512), (512, 512), (2048, 2048), (1024, 256))
"""Pairs of -b and -ub for llama-perplexity."""

FEW = 4
_ESTIMATE = re.compile(r"\[(\d+)\]([\d.]+),")


def theirs(model: str, text: Path, windows: int, size: tuple[int, int]) -> tuple[float, float]:
    """Run llama-perplexity; return the perplexity of all windows and its seconds."""
    batch, micro = map(str, size)
    command = [peers.program("llama-perplexity"), "-m", model, "-f", str(text), "-c", "512", "--chunks", str(windows)]
    run = peers.run([*command, "-b", batch, "-ub", micro])
    found = dict(_ESTIMATE.findall(run.output))  # by the number of windows; the final one in the log may be lost
    return float(found[str(windows)]), run.seconds


def ours(model: str, windows: int, kernels: str) -> tuple[float, float]:
    """Run `bench quality`; return its perplexity and seconds."""
    how = ("--windows", str(windows), "--kernels", kernels, "--no-save", "--json")
    run = peers.run([*peers.LLAMACLI, "bench", "quality", "-m", model, *how])
    return json.loads(run.output)[0]["perplexity"], run.seconds


def main() -> None:
    """Print a line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: str(Path(text).resolve()))
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--kernels", default="own")
    options = parser.parse_args()
    with tempfile.NamedTemporaryFile("wb", suffix=".txt") as text:
        text.write(shipped_text().data)
        text.flush()
        path = Path(text.name)
        best = min(SIZES, key=lambda size: theirs(options.model, path, FEW, size)[1])
        their, our = (
            theirs(options.model, path, options.windows, best),
            ours(options.model, options.windows, options.kernels),
        )
    print(
        f"perplexity of {options.windows} windows: ours {our[0]:.4f}, llama-perplexity's {their[0]:.4f} "
        f"({our[0] / their[0] - 1:+.4%}); seconds {our[1]:.1f} and {their[1]:.1f} with -b {best[0]} -ub {best[1]}, "
        f"speed ratio {their[1] / our[1]:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
