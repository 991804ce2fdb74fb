"""`llamacli bench quality` against llama-perplexity: the same windows must give the same perplexity, no slower.

    python tests/performance/bench_quality.py MODEL [--windows 64] [--kernels own] [--questions 40]

llama-perplexity runs with the batch sizes that are its fastest on a few windows, and has llama.cpp's kernels only: with
--kernels upstream the perplexities are equal. Times are those of whole processes. The last lines compare choices that are
scored side by side with the same choices one by one, each with its whole context.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import peers

from llamacli.bench.measure.setup import Setup
from llamacli.bench.quality.choices import encode, score_choices
from llamacli.bench.quality.params import Candidate, ChoicesScored
from llamacli.bench.quality.scores import log_softmax
from llamacli.bench.quality.tasks import Choice, TaskQuestion
from llamacli.bench.quality.text import shipped_text
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model

SIZES = ((2048, 512), (512, 512), (2048, 2048), (1024, 256))
"""Pairs of -b and -ub for llama-perplexity."""

FEW = 4
_ESTIMATE = re.compile(r"Final estimate: PPL = ([\d.]+)")


def theirs(model: str, text: Path, windows: int, size: tuple[int, int]) -> tuple[float, float]:
    """Run llama-perplexity; return its perplexity, from a log in a file, and its seconds."""
    batch, micro = map(str, size)
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        command = [peers.program("llama-perplexity"), "-m", model, "-f", str(text), "-c", "512", "--chunks", str(windows)]
        run = peers.run([*command, "-b", batch, "-ub", micro, "--log-file", log.name])
        return float(_ESTIMATE.search(run.output + log.read())[1]), run.seconds  # type: ignore[index]  # else it has failed


def ours(model: str, windows: int, kernels: str) -> tuple[float, float]:
    """Run `bench quality`; return its perplexity and seconds."""
    how = ("--windows", str(windows), "--kernels", kernels, "--no-save", "--json")
    run = peers.run([*peers.LLAMACLI, "bench", "quality", "-m", model, *how])
    return json.loads(run.output)[0]["perplexity"], run.seconds


def sentences(count: int) -> list[TaskQuestion]:
    """Return questions like HellaSwag's: contexts and choices are sentences of the shipped text."""
    lines = [line for line in shipped_text().data.decode().splitlines() if 60 < len(line) < 300]
    groups = [lines[5 * number : 5 * number + 5] for number in range(count)]
    return [TaskQuestion(tuple(Choice(context, f" {one[:60]}") for one in choices), 0) for context, *choices in groups]


def letters(count: int) -> list[TaskQuestion]:
    """Return questions like MMLU's: the context has the choices, of which the model names a letter."""
    found = []
    for question in sentences(count):
        listed = "\n".join(f"{letter}.{one.continuation}" for letter, one in zip("ABCD", question.choices, strict=True))
        context = f"{question.choices[0].context}\n{listed}\nAnswer:"
        found.append(TaskQuestion(tuple(Choice(context, f" {letter}") for letter in "ABCD"), 0))
    return found


def one_by_one(model: Model, asked: list[TaskQuestion]) -> float:
    """Score every choice alone; return the seconds."""
    started = time.perf_counter()
    with Context(model, ContextParams(n_ctx=1024, all_outputs=True)) as context:
        for question in asked:
            for choice in encode(model, question).choices:
                context.clear()
                count = len(choice.tokens) - 1
                outputs = [int(position + 1 >= choice.start) for position in range(count)]
                context.decode(list(choice.tokens[:-1]), list(range(count)), [0] * count, outputs)
                rows = np.asarray(context.logit_rows(choice.start - 1, sum(outputs)), np.float32).reshape(sum(outputs), -1)
                log_softmax(rows)
    return time.perf_counter() - started


def side_by_side(path: str, asked: list[TaskQuestion]) -> float:
    """Score all choices side by side; return the seconds, without loading."""
    candidate = Candidate(path=path, setup=Setup(model=ModelParams(), context=ContextParams()))
    return sum(event.seconds for event in score_choices(candidate, asked, CancelFlag()) if isinstance(event, ChoicesScored))


def main() -> None:
    """Print a line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: str(Path(text).resolve()))
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--kernels", default="own")
    parser.add_argument("--questions", type=int, default=40)
    options = parser.parse_args()
    if options.windows:
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
    if options.questions:
        for name, asked in (("sentences", sentences(options.questions)), ("letters", letters(options.questions))):
            with Model(Path(options.model)) as model:
                alone = one_by_one(model, asked)
            together = side_by_side(options.model, asked)
            print(f"{name}: one by one {alone:.2f} s, side by side {together:.2f} s, ratio {alone / together:.2f}", flush=True)


if __name__ == "__main__":
    main()
