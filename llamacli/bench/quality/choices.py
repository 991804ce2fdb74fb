"""Log probabilities of choices: what they have in common is evaluated once, and many questions side by side.

The context's tokens of a question are evaluated in one sequence, which the other choices share by reference (in a unified
cache a cell belongs to any number of sequences); then what differs, of all choices at once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llamacli.bench.measure.token_test import model_facts
from llamacli.bench.quality.evaluator import check_possible
from llamacli.bench.quality.params import Candidate, CandidateReady, ChoicesScored
from llamacli.bench.quality.scores import gather
from llamacli.bench.quality.tasks import Choice, TaskQuestion
from llamacli.binding import log
from llamacli.engine.generation.prefix_cache import common_length
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.model import Model
from llamacli.errors import ContextFullError, DecodeError

CELLS = 1024
"""Cells of the cache that questions share, enough for full batches; a longer question gets as many as it needs."""

MOST_SEQUENCES = 256
_OUTPUTS = 512
"""Tokens with logits in one batch: 96 MiB for 49,152 tokens of vocabulary."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of a choice, context and continuation; those from `start` on are judged."""

    tokens: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True)
class EncodedQuestion:
    """A question in tokens. The first `shared` tokens of all choices are the same."""

    choices: tuple[Encoded, ...]
    shared: int

    @property
    def cells(self) -> int:
        """The number of cells that it needs in the cache."""
        return self.shared + sum(len(one.tokens) - self.shared for one in self.choices)


def score_choices(
    candidate: Candidate,
    questions: Sequence[TaskQuestion],
    cancel: CancelFlag,
    on_load: Callable[[float], None] | None = None,
) -> Iterator[CandidateReady | ChoicesScored]:
    """Yield the log probabilities of the choices of each question.

    Raises:
        ModelError, CapacityError: if the model cannot be evaluated.
        ContextFullError: if a question is longer than the model's context.
        CancelledError: if `cancel` was set.
    """
    log.route()
    with (
        Model(Path(candidate.path), candidate.setup.model, cancel=cancel, on_load=on_load) as model,
        ThreadPoolExecutor(default_threads()) as pool,
    ):
        check_possible(model, 0)
        yield CandidateReady(0, model_facts(model))
        encoded = [encode(model, question) for question in questions]
        _check_lengths(encoded, model)
        cells = max(CELLS, *(one.cells for one in encoded))
        params = choice_params(candidate.setup.context, cells)
        with interruptible(lambda: Context(model, params), cancel) as context:
            scorer = ChoiceScorer(context, cells, pool)
            yield from scorer.scores(encoded)


def choice_params(params: ContextParams, cells: int) -> ContextParams:
    """Return the parameters of a context whose cache is shared by all choices."""
    return replace(
        params,
        n_ctx=max(1, -(-cells // MOST_SEQUENCES)),
        n_seq_max=MOST_SEQUENCES,
        n_outputs=min(_OUTPUTS, params.n_batch),
        kv_unified=True,
    )


def encode(model: Model, question: TaskQuestion) -> EncodedQuestion:
    """Return a question in tokens."""
    choices = tuple(_encode(model, choice) for choice in question.choices)
    first = choices[0].tokens
    # The last token of the shortest choice stays outside, so that every choice has something of its own to evaluate.
    shared = min(min(common_length(first, one.tokens), len(one.tokens) - 1) for one in choices)
    return EncodedQuestion(choices, shared)


def _encode(model: Model, choice: Choice) -> Encoded:
    """Return a choice in tokens. White space at the end of the context belongs to the continuation, as words begin with it."""
    context = choice.context.rstrip()
    continuation = choice.context[len(context) :] + choice.continuation
    head = model.vocabulary.tokenize(context, add_special=True)
    if model.vocabulary.add_eos and head:
        head.pop()
    whole = model.vocabulary.tokenize(context + continuation, add_special=True)
    if model.vocabulary.add_eos and whole:
        whole.pop()
    if not head:  # something has to come before the first judged token
        end = model.vocabulary.bos if model.vocabulary.bos >= 0 else model.vocabulary.eos
        head, whole = [end], [end, *whole]
    start = min(len(head), len(whole) - 1)
    return Encoded(tuple(whole), max(1, start))


def _check_lengths(questions: Sequence[EncodedQuestion], model: Model) -> None:
    longest = max(len(choice.tokens) for question in questions for choice in question.choices)
    if longest > model.n_ctx_train:
        raise ContextFullError(
            f"a question has {longest} tokens, but {model.path.name} was trained with {model.n_ctx_train}",
            needed=longest,
            available=model.n_ctx_train,
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A token of a batch. `targets` are tokens that may follow it, each with the number of the choice that it belongs to."""

    token: int
    position: int
    sequence: int
    targets: tuple[tuple[int, int], ...] = ()


class ChoiceScorer:
    """Scores questions in a context whose cache has `cells` cells for up to MOST_SEQUENCES sequences."""

    def __init__(self, context: Context, cells: int, pool: Executor) -> None:
        self._context, self._cells, self._pool = context, cells, pool

    def scores(self, questions: Sequence[EncodedQuestion]) -> Iterator[ChoicesScored]:
        """Yield the scores of all questions, in order."""
        number = 0
        while number < len(questions):
            count = self._fitting(questions[number:])
            started = time.perf_counter()
            found = self._group(questions[number : number + count])
            seconds = (time.perf_counter() - started) / count
            for offset, logprobs in enumerate(found):
                tokens = questions[number + offset].cells
                yield ChoicesScored(number + offset, logprobs, tokens, seconds)
            number += count

    def _fitting(self, questions: Sequence[EncodedQuestion]) -> int:
        """Return how many questions fit side by side, at least one."""
        cells = sequences = 0
        for count, question in enumerate(questions):
            cells += question.cells
            sequences += len(question.choices)
            if cells > self._cells or sequences > MOST_SEQUENCES:
                return max(1, count)
        return len(questions)

    def _group(self, questions: Sequence[EncodedQuestion]) -> list[tuple[float, ...]]:
        """Return the log probabilities of the choices of questions that fit side by side."""
        self._context.clear()
        firsts = [0, *itertools.accumulate(len(question.choices) for question in questions)]
        totals = [0.0] * firsts[-1]
        pairs = list(zip(questions, firsts, strict=False))
        self._evaluate([entry for question, first in pairs for entry in _shared_entries(question, first)], totals)
        for question, first in pairs:
            for choice in range(1, len(question.choices)):
                self._context.copy(first, first + choice)
        self._evaluate([entry for question, first in pairs for entry in _own_entries(question, first)], totals)
        return [tuple(totals[first : first + len(question.choices)]) for question, first in pairs]

    def _evaluate(self, entries: Sequence[_Entry], totals: list[float]) -> None:
        """Evaluate tokens, and add the log probabilities of their targets to those of the choices."""
        begin = 0
        while begin < len(entries):
            batch: list[_Entry] = []
            outputs = 0
            for entry in entries[begin : begin + self._context.n_batch]:
                if entry.targets and outputs == self._context.n_outputs:
                    break
                outputs += bool(entry.targets)
                batch.append(entry)
            self._context.decode(
                [entry.token for entry in batch],
                [entry.position for entry in batch],
                [entry.sequence for entry in batch],
                [int(bool(entry.targets)) for entry in batch],
            )
            if outputs:
                self._add(batch, outputs, totals)
            begin += len(batch)

    def _add(self, batch: Sequence[_Entry], outputs: int, totals: list[float]) -> None:
        judged = [(index, entry) for index, entry in enumerate(batch) if entry.targets]
        logits = np.asarray(self._context.logit_rows(judged[0][0], outputs), np.float32).reshape(outputs, -1)
        wanted = [(row, choice, token) for row, (_, entry) in enumerate(judged) for choice, token in entry.targets]
        rows, choices, tokens = zip(*wanted, strict=True)
        found = gather(logits, rows, tokens, self._pool)
        if not np.isfinite(found).all():
            raise DecodeError(
                f"the logits of {self._context.model.path.name} are not finite",
                hint="the file may be corrupt: try check_tensors",
            )
        for choice, value in zip(choices, found.tolist(), strict=True):
            totals[choice] += value


def _shared_entries(question: EncodedQuestion, first: int) -> Iterator[_Entry]:
    """Yield what all choices have in common, in the sequence of the first one."""
    for position in range(question.shared):
        targets = tuple(
            (first + number, choice.tokens[position + 1])
            for number, choice in enumerate(question.choices)
            if position + 1 >= choice.start
        )
        yield _Entry(question.choices[0].tokens[position], position, first, targets)


def _own_entries(question: EncodedQuestion, first: int) -> Iterator[_Entry]:
    """Yield what the choices do not share, each in its own sequence."""
    for number, choice in enumerate(question.choices):
        last = len(choice.tokens) - 1  # nothing comes after it that could be judged
        for position in range(question.shared, last):
            token = choice.tokens[position + 1]
            targets = ((first + number, token),) if position + 1 >= choice.start else ()
            yield _Entry(choice.tokens[position], position, first + number, targets)
