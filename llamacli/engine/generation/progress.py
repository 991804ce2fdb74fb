"""The counts and times of a running sequence, from which usage and timings are made."""

from __future__ import annotations

import time

from llamacli.engine.events import Timings, Usage


class Progress:
    """What a sequence has done.

    `reused` tokens of the prompt, `restored` ones of them from outside; `sampled` tokens, of which `shown` belong to the
    answer; `drafted` ones, of which so many were `accepted`.
    `started` and `first` are the times when the prompt and the first token were begun, 0 before.
    """

    __slots__ = ("accepted", "drafted", "first", "restored", "reused", "sampled", "shown", "started")

    def __init__(self) -> None:
        self.reused = self.restored = self.sampled = self.shown = self.drafted = self.accepted = 0
        self.started = self.first = 0.0

    def usage(self, prompt: int) -> Usage:
        """Return the numbers of tokens after a prompt of so many."""
        return Usage(prompt, self.shown, self.reused, self.restored)

    def timings(self, prompt: int, cached: int) -> Timings:
        """Return the durations up to now. `cached`: tokens that the cache holds, which count before the prompt is read."""
        now = time.perf_counter()
        first = self.first or now
        evaluated = prompt - self.reused if self.first else max(0, cached - self.reused)
        return Timings(evaluated, 1e3 * (first - self.started), self.sampled, 1e3 * (now - first), self.drafted, self.accepted)
