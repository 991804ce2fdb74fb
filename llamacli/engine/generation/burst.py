"""Several steps in one call: while all sequences only generate, C evaluates and samples without coming back for each token.

What Python does between two tokens takes microseconds when it is repeated, but twenty times as long after the model's weights
have passed through the caches. A burst pays that once. It is short enough that nobody sees tokens come in groups.
"""

from __future__ import annotations

from collections.abc import Sequence as Series
from dataclasses import dataclass
from typing import Any

from llamacli.binding.arrays import int32, reference, struct_array
from llamacli.binding.library import library
from llamacli.engine.runtime.context import Context
from llamacli.errors import CancelledError

SECONDS = 0.03
"""How long a burst lasts at most, but for its first step: two frames of a screen."""

STEPS = 32
"""Steps of a burst at most."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A token that C chose and its natural-log probability, NaN unless asked for; `is_last` in its burst.

    Where none could be chosen, `status` says why, as `llamacli_sample` does.
    """

    token: int
    logprob: float
    status: int
    is_last: bool


class Burst:
    """Runs bursts on a context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._choices = struct_array("llamacli_choice", [(0, 0, 0.0)] * (STEPS * context.params.n_seq_max))
        self._done = int32()
        self._lanes: dict[int, Any] = {}

    def run(self, lanes: Series[Any], steps: int) -> tuple[list[list[Choice]], bool]:
        """Evaluates and samples at most `steps` times for all lanes (`Sampler.lane`).

        Returns what was chosen, a list of steps with a choice for each lane, and whether the cancel flag ended it; the
        caller need not know where the cache stands then.

        Raises:
            ContextFullError, DecodeError, MemoryFullError: the first evaluation failed.
        """
        count = len(lanes)
        if count not in self._lanes:
            self._lanes[count] = struct_array("llamacli_lane", [()] * count)
        array = self._lanes[count]
        array[:] = lanes
        cancelled = False
        try:
            library().llamacli_burst(
                self._context.handle, array, count, min(steps, STEPS), int(1e6 * SECONDS), self._choices, reference(self._done)
            )
        except CancelledError:
            cancelled = True
        done: int = self._done.value
        rows = iter(self._choices[: done * count])
        return [[_choice(next(rows), step == done) for _ in range(count)] for step in range(1, done + 1)], cancelled


def _choice(row: Any, is_last: bool) -> Choice:
    failed = row.token < 0
    return Choice(row.token, row.logprob, row.n_top if failed else 0, is_last)
