"""Choices of `llamacli bench quality --tasks` side by side against the same choices one by one, each with its whole context.

    python tests/performance/bench_choices.py MODEL [SHAPE…] [--rounds 5] [--questions 16]

One by one, only judged tokens have logits, and no process is started: the gain is that of sharing and of full batches. In each
round both score the same new questions; the ratio is the median of the rounds'. The numbers of tokens bound what sharing
alone can bring; judged tokens cost the same on both sides, and full batches are faster.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from llamacli.bench.quality.choices import CELLS, MOST_SEQUENCES, ChoiceScorer, choice_params
from llamacli.bench.quality.encoded import EncodedQuestion, cells_for, encode, group_questions
from llamacli.bench.quality.scores import log_softmax
from llamacli.bench.quality.tasks import Choice, TaskQuestion
from llamacli.bench.quality.text import shipped_text
from llamacli.engine.generation.prompts.prefix_cache import common_length
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.model import Model

_LETTERS = "ABCD"


class Prose:
    """Pieces of the English of the shipped text, in words."""

    def __init__(self) -> None:
        lines = shipped_text().data.decode().splitlines()
        self._words = [word for line in lines if line.isascii() and len(line) > 60 for word in line.split()]
        self._random = random.Random(1)

    def words(self, least: int, most: int) -> str:
        """Return from `least` to `most` words that follow each other."""
        count = self._random.randint(least, most)
        start = self._random.randrange(len(self._words) - count)
        return " ".join(self._words[start : start + count])


def hellaswag(text: Prose) -> TaskQuestion:
    """Return a beginning with four ends."""
    context = text.words(20, 55)
    return TaskQuestion(tuple(Choice(context, f" {text.words(10, 20)}") for _ in range(4)), 0)


def arc(text: Prose) -> TaskQuestion:
    """Return a question with four short answers."""
    context = f"Question: {text.words(12, 25)}?\nAnswer:"
    return TaskQuestion(tuple(Choice(context, f" {text.words(1, 5)}") for _ in range(4)), 0)


def mmlu(text: Prose) -> TaskQuestion:
    """Return a question with four answers in the context and a letter as each choice."""
    listed = "\n".join(f"{letter}. {text.words(3, 9)}" for letter in _LETTERS)
    context = f"{text.words(15, 50)}\n{listed}\nAnswer:"
    return TaskQuestion(tuple(Choice(context, f" {letter}") for letter in _LETTERS), 0)


def winogrande(text: Prose) -> TaskQuestion:
    """Return a sentence with one of two words in a gap."""
    before, after = text.words(8, 13), text.words(5, 9)
    return TaskQuestion(tuple(Choice(f"{before} {text.words(1, 1)}", f" {after}") for _ in range(2)), 0)


def with_examples(shape: Callable[[Prose], TaskQuestion]) -> Callable[[Prose], TaskQuestion]:
    """Return the shape with the same 200 words before each context."""
    examples = Prose().words(200, 200)

    def examined(text: Prose) -> TaskQuestion:
        question = shape(text)
        choices = tuple(Choice(f"{examples}\n{one.context}", one.continuation) for one in question.choices)
        return TaskQuestion(choices, question.answer)

    return examined


SHAPES = {
    "hellaswag": hellaswag, "arc": arc, "mmlu": mmlu, "winogrande": winogrande,
    "hellaswag with examples": with_examples(hellaswag), "mmlu with examples": with_examples(mmlu),
}  # fmt: skip


def one_by_one(context: Context, questions: Sequence[EncodedQuestion]) -> None:
    """Score every choice alone."""
    for choice in itertools.chain.from_iterable(question.choices for question in questions):
        context.clear()
        count = len(choice.tokens) - 1
        outputs = [int(position + 1 >= choice.start) for position in range(count)]
        context.decode(list(choice.tokens[:-1]), list(range(count)), [0] * count, outputs)
        rows = np.asarray(context.logit_rows(choice.start - 1, sum(outputs)), np.float32).reshape(sum(outputs), -1)
        log_softmax(rows)[np.arange(len(rows)), list(choice.tokens[choice.start :])].sum()


def counts(questions: Sequence[EncodedQuestion], cells: int) -> tuple[int, int]:
    """Return the numbers of tokens that are evaluated one by one, and side by side."""
    alone = sum(len(choice.tokens) - 1 for question in questions for choice in question.choices)
    together, before = 0, ()
    for group in group_questions(questions, cells, MOST_SEQUENCES):
        together += len(group.preamble) - common_length(before, group.preamble)
        together += sum(one.cells - len(one.choices) - len(group.preamble) for one in group.questions)
        before = group.preamble
    return alone, together


def rounds(model: Model, shape: Callable[[Prose], TaskQuestion], count: int, questions: int) -> Iterator[tuple[float, float]]:
    """Yield the seconds of both, for new questions in each round, in alternating order."""
    text = Prose()
    asked = [[encode(model, shape(text)) for _ in range(questions)] for _ in range(count + 1)]
    cells = max(cells_for(one, CELLS) for one in asked)
    with ExitStack() as stack:
        alone = stack.enter_context(Context(model, ContextParams(n_ctx=1024, all_outputs=True)))
        shared = stack.enter_context(Context(model, choice_params(ContextParams(), cells)))
        scorer = ChoiceScorer(shared, cells, stack.enter_context(ThreadPoolExecutor(default_threads())))
        ways = (lambda one: one_by_one(alone, one), lambda one: list(scorer.scores(one)))
        for number, one in enumerate(asked):
            seconds = [0.0, 0.0]
            for way in (0, 1) if number % 2 else (1, 0):
                started = time.perf_counter()
                ways[way](one)
                seconds[way] = time.perf_counter() - started
            if number:  # the first one only warms up
                yield seconds[0], seconds[1]


def main() -> None:
    """Print a line for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("shape", nargs="*", help=", ".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=16)
    options = parser.parse_args()
    with Model(options.model.resolve()) as model:
        for name in options.shape or SHAPES:
            text = Prose()
            sample = [encode(model, SHAPES[name](text)) for _ in range(options.questions)]
            alone, together = counts(sample, cells_for(sample, CELLS))
            found = list(rounds(model, SHAPES[name], options.rounds, options.questions))
            ratio = statistics.median(one / two for one, two in found)
            print(
                f"{name}: one by one {sum(one for one, _ in found):.2f} s, side by side {sum(two for _, two in found):.2f} s, "
                f"ratio {ratio:.2f}; tokens {alone} and {together}, {alone / together:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
