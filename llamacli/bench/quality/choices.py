"""Log probabilities of choices: what they have in common is evaluated once, and many questions side by side.

Tokens that several sequences begin with are evaluated in one, which the others share by reference (in a unified cache a cell
belongs to any number of sequences): first those of all questions of a group, then those of the choices of each, then what
differs, of all choices at once. What the next group begins with, such as the same examples, stays in the cache.
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
from llamacli.bench.quality.encoded import EncodedQuestion, Group, cells_for, check_lengths, encode, group_questions
from llamacli.bench.quality.evaluator import check_possible
from llamacli.bench.quality.params import Candidate, CandidateReady, ChoicesScored
from llamacli.bench.quality.scores import gather
from llamacli.bench.quality.tasks import TaskQuestion
from llamacli.binding import log
from llamacli.engine.generation.prompts.prefix_cache import common_length
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.model import Model
from llamacli.errors import DecodeError

CELLS = 1024
"""Cells of the cache beside those of examples that questions share; a longer question gets as many as it needs."""

MOST_SEQUENCES = 256
_PREAMBLE, _FIRST = 0, 1
"""The sequence of what the questions of a group begin with, and that of the first choice."""

_OUTPUTS = 512
"""Tokens with logits in one batch: 96 MiB for 49,152 tokens of vocabulary."""


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
        check_lengths(encoded, model)
        cells = cells_for(encoded, CELLS)
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


@dataclass(frozen=True, slots=True)
class _Entry:
    """A token of a batch. `targets` are tokens that may follow it, each with the sequence of the choice that it belongs to."""

    token: int
    position: int
    sequence: int
    targets: tuple[tuple[int, int], ...] = ()


class ChoiceScorer:
    """Scores questions in a context whose cache has `cells` cells for MOST_SEQUENCES sequences.

    The first sequence has the tokens that the questions of a group begin with, the others have a choice each.
    """

    def __init__(self, context: Context, cells: int, pool: Executor) -> None:
        self._context, self._cells, self._pool = context, cells, pool
        self._preamble: tuple[int, ...] = ()

    def scores(self, questions: Sequence[EncodedQuestion]) -> Iterator[ChoicesScored]:
        """Yield the scores of all questions, in order."""
        for group in group_questions(questions, self._cells, MOST_SEQUENCES):
            started = time.perf_counter()
            found = self._score(group)
            seconds = (time.perf_counter() - started) / len(group.questions)
            for number, (question, logprobs) in enumerate(zip(group.questions, found, strict=True), group.begin):
                yield ChoicesScored(number, logprobs, question.cells, seconds)

    def _score(self, group: Group) -> list[tuple[float, ...]]:
        """Return the log probabilities of the choices of a group."""
        self._evaluate_preamble(group.preamble)
        known = len(group.preamble)
        firsts = list(itertools.accumulate((len(one.choices) for one in group.questions), initial=_FIRST))
        totals = dict.fromkeys(range(_FIRST, firsts[-1]), 0.0)
        pairs = list(zip(group.questions, firsts, strict=False))
        for _, first in pairs:
            self._context.copy(_PREAMBLE, first)
        self._evaluate([entry for question, first in pairs for entry in _shared_entries(question, first, known)], totals)
        for question, first in pairs:
            for sequence in range(first + 1, first + len(question.choices)):
                self._context.copy(first, sequence)
        self._evaluate([entry for question, first in pairs for entry in _own_entries(question, first)], totals)
        for sequence in totals:
            self._context.forget(sequence)
        return [tuple(totals[first + number] for number in range(len(question.choices))) for question, first in pairs]

    def _evaluate_preamble(self, tokens: tuple[int, ...]) -> None:
        """Bring the cache to these tokens alone, and keep of what it has what can be kept."""
        known = common_length(self._preamble, tokens)
        kept = known if known and self._context.keeps(_PREAMBLE, known) and self._context.forget(_PREAMBLE, known) else 0
        if not kept:
            self._context.clear()
        self._evaluate([_Entry(token, kept + place, _PREAMBLE) for place, token in enumerate(tokens[kept:])], {})
        self._preamble = tokens

    def _evaluate(self, entries: Sequence[_Entry], totals: dict[int, float]) -> None:
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

    def _add(self, batch: Sequence[_Entry], outputs: int, totals: dict[int, float]) -> None:
        judged = [(index, entry) for index, entry in enumerate(batch) if entry.targets]
        logits = np.asarray(self._context.logit_rows(judged[0][0], outputs), np.float32).reshape(outputs, -1)
        wanted = [(row, sequence, token) for row, (_, entry) in enumerate(judged) for sequence, token in entry.targets]
        rows, sequences, tokens = zip(*wanted, strict=True)
        found = gather(logits, rows, tokens, self._pool)
        if not np.isfinite(found).all():
            raise DecodeError(
                f"the logits of {self._context.model.path.name} are not finite",
                hint="the file may be corrupt: try check_tensors",
            )
        for sequence, value in zip(sequences, found.tolist(), strict=True):
            totals[sequence] += value


def _shared_entries(question: EncodedQuestion, first: int, known: int) -> Iterator[_Entry]:
    """Yield what all choices have in common behind the `known` tokens, in the sequence of the first one."""
    for position in range(known, question.shared):
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
