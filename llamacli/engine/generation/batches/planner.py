"""Plans of batches: which sequences evaluate how many of their pending tokens."""

from __future__ import annotations

from typing import Protocol

from llamacli.engine.generation.batches.pace import PromptPace
from llamacli.engine.generation.sequence import Sequence

AMPLE = 256
"""Prompt tokens that fill a batch well: a token is hardly faster in a larger one."""

Planned = tuple[Sequence, int]
"""A sequence, and the number of its pending tokens to evaluate."""


class Planner(Protocol):
    """Maker of plans, one for each batch."""

    def plan(self, active: list[Sequence]) -> list[Planned]:
        """Return the plan of the next batch for the running sequences; empty if nothing is pending."""


class MixedPlanner:
    """Planner of one token for each generating sequence, and of prompts as they fit beside them in `n_batch` tokens.

    A prompt that is alone is split into portions, to report its progress: llama.cpp would compute the same ones. Its last
    portion is never a single token, which other kernels would compute: a prompt gets the same logits as among rows.
    """

    def __init__(self, n_batch: int, pace: PromptPace | None = None) -> None:
        self._n_batch = n_batch
        self._pace = pace or PromptPace(None, n_batch)

    def plan(self, active: list[Sequence]) -> list[Planned]:
        """See `Planner`."""
        budget = min(self._n_batch, active[0].portion) if len(active) == 1 else self._n_batch
        if self._pace.is_bounded:
            generating = sum(len(sequence.pending) for sequence in active if not sequence.is_prefilling)
            budget = min(budget, generating + self._pace.limit) if generating else budget
        plan = []
        for sequence in sorted(active, key=lambda sequence: sequence.is_prefilling):
            count = min(len(sequence.pending), budget)
            if len(active) == 1 and count > 2 and len(sequence.pending) - count == 1:
                count -= 1
            if count:
                plan.append((sequence, count))
                budget -= count
        return plan


class InvariantPlanner:
    """Planner of batches in which each sequence gets, to the bit, the numbers that it would get alone.

    ggml multiplies one column with other kernels than several, and they sum in another order. So a prompt is never evaluated
    by single tokens, nor beside generating sequences, whose tokens are always single. llama.cpp splits a batch into parts in
    which all sequences have the same number of tokens: equal numbers leave nothing to split. Short prompts share a batch,
    ample ones have their own, and after `n_batch` prompt tokens, or as many steps as these would take, but at least two, the
    generating sequences have a step. With a pace they have one after each part, and the oldest prompt is read first.
    """

    def __init__(self, n_batch: int, n_ubatch: int, pace: PromptPace | None = None) -> None:
        self._n_batch = n_batch
        self._n_ubatch = n_ubatch
        self._pace = pace or PromptPace(None, n_ubatch)
        self._most_steps = 1 if self._pace.is_bounded else max(2, n_batch // n_ubatch)
        self._spent = self._steps = 0

    def plan(self, active: list[Sequence]) -> list[Planned]:
        """See `Planner`."""
        prompts = [sequence for sequence in active if sequence.is_prefilling and sequence.pending]
        others = [sequence for sequence in active if not sequence.is_prefilling and sequence.pending]
        if prompts and (not others or (self._spent < self._n_batch and self._steps < self._most_steps)):
            plan = self._prompts(prompts, min(self._n_ubatch, self._pace.limit) if others else self._n_ubatch)
            self._spent += sum(count for _, count in plan)
            self._steps += 1
            return plan
        self._spent = self._steps = 0
        return [(sequence, len(sequence.pending)) for sequence in others]

    def _prompts(self, prompts: list[Sequence], limit: int) -> list[Planned]:
        """The plan of prompts, of at most `limit` tokens."""
        single = [sequence for sequence in prompts if len(sequence.pending) == 1]  # it was the whole prompt
        if self._pace.is_bounded:
            ordered = sorted(prompts, key=lambda sequence: sequence.id)
        else:
            ordered = sorted(prompts, key=lambda sequence: -len(sequence.pending))
        size = len(ordered[0].pending)
        together = single[:limit] or (ordered[:1] if size >= AMPLE else ordered[: max(1, limit // size)])
        count = self._share(together, limit)
        if not count:
            together = together[:1]
            count = self._share(together, limit)
        return [(sequence, count) for sequence in together]

    def _share(self, prompts: list[Sequence], limit: int) -> int:
        """The tokens that each evaluates: the most that leave no prompt with a single one, 0 if no number does."""
        pending = [len(sequence.pending) for sequence in prompts]
        most = max(1, min(*pending, limit // len(prompts)))
        if most == 1:
            return 1
        alone = most if len(prompts) == 1 else 0
        return next((count for count in range(most, 1, -1) if all(rest - count != 1 for rest in pending)), alone)


def batch_of(plan: list[Planned]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return the tokens of a batch, their positions and slots, and 1 for each that gives logits."""
    tokens: list[int] = []
    positions: list[int] = []
    sequences: list[int] = []
    outputs: list[int] = []
    for sequence, count in plan:
        start = sequence.position
        tokens += sequence.pending[:count]
        positions += range(start, start + count)
        sequences += [sequence.slot] * count
        scores = sequence.scores_prompt and sequence.is_prefilling
        outputs += [int(scores)] * (count - 1)
        outputs.append(int(scores or sequence.gives_output(count)))
    return tokens, positions, sequences, outputs
