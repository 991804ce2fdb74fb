"""One round: some windows side by side, evaluated by all candidates, each batch by all of them before the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from llamacli.bench.quality.evaluator import BatchPlan, Evaluator, Step, steps_of
from llamacli.bench.quality.logits_file import LogitsFile, LogitsWriter, StoredReference
from llamacli.bench.quality.params import WindowScored
from llamacli.bench.quality.scores import Reference, ReferenceLogits, Scores, join_scores, score
from llamacli.bench.quality.windows import Window
from llamacli.errors import CancelledError, DecodeError, LlamacliError


@dataclass(frozen=True, slots=True)
class References:
    """What the candidates are compared with: a model that is evaluated beside them, or stored distributions, or nothing."""

    model: Evaluator | None = None
    stored: LogitsFile | None = None


class Round:
    """The scores of `windows`, the first of which is number `begin` of the text, by candidate."""

    def __init__(
        self, windows: Sequence[Window], begin: int, batches: BatchPlan, references: References, pool: Executor
    ) -> None:
        self._windows, self._begin, self._batches = windows, begin, batches
        self._references, self._pool = references, pool
        self._parts: defaultdict[tuple[int, int], list[Scores]] = defaultdict(list)
        self._stored = (
            [references.stored.reference(begin + number) for number in range(len(windows))] if references.stored else []
        )
        self._done = 0  # judged tokens of each window

    def run(self, evaluators: Mapping[int, Evaluator], writer: LogitsWriter | None) -> Iterator[tuple[int, LlamacliError]]:
        """Evaluate the windows. Yield the candidates that failed; their scores are not complete.

        Raises:
            CancelledError: if the models' flag was set.
            LlamacliError: if the reference failed.
        """
        failed: set[int] = set()
        for evaluator in (*evaluators.values(), *filter(None, [self._references.model])):
            evaluator.begin()
        for step in steps_of(self._windows, self._batches):
            references = self._reference_rows(step)
            for number, evaluator in evaluators.items():
                if number in failed:
                    continue
                try:
                    self._take(number, step, evaluator, references, writer)
                except CancelledError:
                    raise
                except LlamacliError as error:
                    failed.add(number)
                    yield number, error
            self._done += len(step.rows[0][1]) if step.rows else 0

    def _reference_rows(self, step: Step) -> Sequence[Reference | None]:
        """Return the distributions of the reference for each window of a batch."""
        if self._references.model is not None:
            return [ReferenceLogits(rows) for rows in self._references.model.evaluate(step)]
        if self._stored and step.rows:
            rows = slice(self._done, self._done + len(step.rows[0][1]))
            return [StoredReference(one.rows[rows], one.n_vocab) for one in self._stored]
        return [None] * len(step.rows)

    def _take(
        self, number: int, step: Step, evaluator: Evaluator, references: Sequence[Reference | None], writer: LogitsWriter | None
    ) -> None:
        found = evaluator.evaluate(step)
        for (window, targets), logits, reference in zip(step.rows, found, references, strict=True):
            scores = score(logits, targets, reference, self._pool)
            if not np.isfinite(scores.losses).all():
                raise DecodeError(
                    f"the logits of {evaluator.model.path.name} are not finite",
                    hint="the file may be corrupt: try check_tensors, or flash_attention=off",
                    parameter="flash_attention",
                )
            self._parts[number, window].append(scores)
            if writer is not None:
                writer.add(logits, self._pool)

    def scored(self, number: int, seconds: float) -> Iterator[WindowScored]:
        """Yield the scores of a candidate that needed `seconds` for all windows."""
        for window in range(len(self._windows)):
            scores = join_scores(self._parts[number, window])
            yield WindowScored(
                candidate=number,
                window=self._begin + window,
                seconds=seconds / len(self._windows),
                losses=scores.losses.tobytes(),
                reference_losses=scores.reference_losses.tobytes(),
                divergences=scores.divergences.tobytes(),
                agrees=scores.agrees.tobytes(),
            )
