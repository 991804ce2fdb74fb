"""Several steps in one call: while all sequences generate, C evaluates and samples without a return to Python for each.

Python's work between two tokens takes microseconds in a loop, but twenty times as long after the model's weights have passed
through the caches. A burst pays that once. It is too short for tokens to be seen in groups.
"""

from __future__ import annotations

from collections.abc import Sequence as Series
from dataclasses import dataclass
from typing import Any

from llamacli.binding.arrays import int32, reference, struct_array
from llamacli.binding.library import library
from llamacli.engine.runtime.context import Context
from llamacli.errors import CancelledError

STEPS = 32
"""Most steps of a burst."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A token that C chose and its natural-log probability, NaN unless requested; `is_last` of its burst.

    Without a choice, `status` is the reason, as of `llamacli_sample`.
    """

    token: int
    logprob: float
    status: int
    is_last: bool


class Burst:
    """Runner of bursts on a context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._choices = struct_array("llamacli_choice", [(0, 0, 0.0)] * (STEPS * context.params.n_seq_max))
        self._done = int32()
        self._lanes: dict[int, Any] = {}

    def run(self, lanes: Series[Any], steps: int) -> tuple[list[list[Choice]], bool]:
        """Evaluate and sample at most `steps` times for all lanes (`Sampler.lane`).

        Return the choices, a list of steps with a choice for each lane, and True if the cancel flag ended the burst: the
        state of the cache is unknown then.

        Raises:
            ContextFullError, DecodeError, MemoryFullError: if the first evaluation failed.
        """
        count = len(lanes)
        if count not in self._lanes:
            self._lanes[count] = struct_array("llamacli_lane", [()] * count)
        array = self._lanes[count]
        array[:] = lanes
        cancelled = False
        with self._context.step(count) as step:
            most, budget = min(steps, step.most or STEPS, STEPS), int(1e6 * self._context.params.burst_seconds)
            try:
                context = self._context.evaluator
                library().llamacli_burst(context, array, count, most, budget, self._choices, reference(self._done))
            except CancelledError:
                cancelled = True
            done: int = self._done.value
            step.done = 0 if cancelled else done
        rows = iter(self._choices[: done * count])
        return [
            [choice_of(next(rows), is_last=number == done) for _ in range(count)] for number in range(1, done + 1)
        ], cancelled


def choice_of(row: Any, *, is_last: bool) -> Choice:
    """Return a `llamacli_choice` as a value."""
    failed = row.token < 0
    return Choice(row.token, row.logprob, row.n_top if failed else 0, is_last)
