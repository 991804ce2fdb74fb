"""The number of threads of each step, chosen by the measured times of the steps before.

The threads of a step wait for each other hundreds of times. Beside another program one of them is always late, and all of them
together are slower than fewer would be. So the number is found in trials of a few steps, and found again when times change.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

PROMPT = 32
"""Tokens from which a batch counts as a prompt."""

_WINDOW = 4
"""Steps whose mean is compared."""

_TRIAL = 2
"""Steps of a trial."""

_GAIN = 0.95
"""A trial wins if its steps take at most this share of the time of those before."""

_SLOWER = 1.2
"""Steps that take longer than the best ones by this factor are a sign of trouble."""

_BUSY = 0.7
"""So are threads that compute for less than this share of the time: they wait for a processor, or for a thread that does."""

_DRIFT = 1.001
"""The best time grows by this factor with each step, because the context grows."""

_PROBATION = 64
"""Steps after a change in which it is undone without a trial, if they are slower than those before it."""

_PAUSE = 10
"""Steps after a change, or a trial that lost nothing, before the next trial."""

Reason = Literal["calm", "more", "trouble"]

_SHARES: dict[Reason, float] = {"calm": 0.004, "more": 0.03, "trouble": 0.05}
"""The share of the time that trials may lose: without a reason, of more threads, and after a sign of trouble."""


class _Steps:
    """The number of steps, and their seconds."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, float]] = []
        self.count = 0

    def add(self, count: int, seconds: float) -> None:
        self._parts.append((count, seconds))
        self.count += count

    def keep_last(self, count: int) -> None:
        """Forget the first ones while `count` are left."""
        while self.count - self._parts[0][0] >= count:
            self.count -= self._parts.pop(0)[0]

    @property
    def pace(self) -> float:
        """Seconds of a step."""
        return sum(seconds for _, seconds in self._parts) / self.count


@dataclass(frozen=True, slots=True)
class _Before:
    """The threads before a change or a trial, with their seconds of a step."""

    threads: int
    pace: float
    reason: Reason


class ThreadSearch:
    """Search for the fastest number of threads, from 1 to `most`, for one kind of work while it goes on.

    `threads` is the number for the next step. Its clock is the time that steps took, whenever they ran.
    """

    def __init__(self, most: int) -> None:
        self.threads = most
        self._most = most
        self._now = 0.0
        self._stride = 1
        self._due: dict[Reason, float] = {"calm": math.inf, "more": 0.0, "trouble": 0.0}
        self._trial: _Before | None = None
        self._forget(0)

    @property
    def steps(self) -> int | None:
        """Steps that may follow each other before they are recorded; None is any number."""
        return _TRIAL if self._trial is not None else None

    def record(self, tokens: int, steps: int, seconds: float, busy: float = 1.0) -> None:
        """Take in the time of `steps` steps of `tokens` each, and choose the threads of the next one.

        `busy` is the share of the time in which the threads computed; 1 if it is not known.
        """
        self._now += seconds
        size = tokens if tokens < PROMPT else 1 << (tokens.bit_length() - 1)
        if size != self._size:
            self._forget(size)
        self._last.add(steps, seconds * size / tokens)  # large batches of like sizes compare by the token
        if self._trial is not None:
            self._judge(self._trial)
            return
        self._last.keep_last(_WINDOW)
        self._since += steps
        if self._last.count >= _TRIAL:
            self._consider(steps, busy)

    def _forget(self, size: int) -> None:
        """Begin anew with batches of another size, with the same threads."""
        if self._trial is not None:
            self.threads = self._trial.threads
        self._size = size
        self._trial = None
        self._changed: _Before | None = None
        self._since = 0  # steps since the last change
        self._last = _Steps()
        self._best, self._least_busy = math.inf, _BUSY

    def _consider(self, steps: int, busy: float) -> None:
        """Undo a change that did not pay, or start a trial that is due."""
        pace, changed, is_whole = self._last.pace, self._changed, self._last.count >= _WINDOW
        if changed is not None and self._since <= _PROBATION and pace > changed.pace * (1 / _GAIN if is_whole else _SLOWER):
            self._wait("more" if changed.threads < self.threads else "trouble", self._since * (pace - changed.pace))
            self._return_to(changed)
            return
        in_trouble = pace > _SLOWER * self._best or busy < self._least_busy
        if in_trouble and self.threads > 1 and self._now >= self._due["trouble"]:
            self._least_busy = min(self._least_busy, _GAIN * busy)
            self._try("trouble", self.threads, pace)
        elif is_whole:
            self._best = min(self._best * _DRIFT**steps, pace)
            if self._due["calm"] == math.inf:
                self._wait("calm", _TRIAL * pace)
            if self.threads < self._most and self._now >= self._due["more"]:
                self._try("more", self.threads, pace)
            elif self.threads > 1 and self._now >= self._due["calm"]:
                self._try("calm", self.threads, pace)

    def _try(self, reason: Reason, threads: int, pace: float) -> bool:
        """Start a trial of more or fewer threads than these, whose pace is known. Return False if there are none."""
        tried = max(1, min(self._most, threads + (self._stride if reason == "more" else -self._stride)))
        if tried == threads:
            return False
        self._trial, self.threads, self._last = _Before(threads, pace, reason), tried, _Steps()
        return True

    def _judge(self, trial: _Before) -> None:
        """End the trial if its result is known, and go on in its direction as far as that pays."""
        count, pace = self._last.count, self._last.pace
        if count < _TRIAL and count * pace < (_TRIAL + 0.5) * trial.pace:
            return
        if pace <= _GAIN * trial.pace:
            self._trial, self._changed = None, trial
            self._since, self._last, self._best = 0, _Steps(), pace
            self._due["more"] = self._due["calm"] = self._now + _PAUSE * pace
            self._stride *= 2
            if not self._try(trial.reason, self.threads, pace):
                self._stride = 1
        elif self._stride > 1:
            self._stride = 1
            self._try(trial.reason, trial.threads, trial.pace)
        else:
            self._wait(trial.reason, count * (pace - trial.pace))
            self._return_to(trial)

    def _wait(self, reason: Reason, lost: float) -> None:
        """Postpone the next trial for this reason until `lost` seconds are its share of the time."""
        pause = self._now + _PAUSE * self._last.pace
        self._due[reason] = max(pause, self._now + lost / _SHARES[reason])

    def _return_to(self, before: _Before) -> None:
        """Take the earlier number of threads. Their pace is now the normal one."""
        self.threads, self._best = before.threads, before.pace
        self._trial = self._changed = None
        self._stride, self._since, self._last = 1, 0, _Steps()


@dataclass(slots=True)
class Step:
    """A call that evaluates: at most `most` steps (None is any number), of which it does `done`."""

    most: int | None = None
    done: int = 1


class AdaptiveThreads:
    """The threads of a context, at most `most`, set before each of its steps.

    `apply` is called with the threads for a single token and those for a batch. `for_batches` fixes the latter. Generation and
    prompts are searched apart: the one reads weights, the other multiplies.
    """

    def __init__(self, most: int, for_batches: int | None, apply: Callable[[int, int], object]) -> None:
        self._for_batches = for_batches
        self._apply = apply
        self._applied = most
        self._generation, self._prompts = ThreadSearch(most), ThreadSearch(most)

    @contextmanager
    def step(self, tokens: int) -> Iterator[Step]:
        """Set the threads for steps of so many tokens, and measure the block."""
        if tokens > 1 and self._for_batches is not None:
            yield Step()
            return
        search = self._generation if tokens < PROMPT else self._prompts
        if search.threads != self._applied:
            self._applied = search.threads
            self._apply(search.threads, self._for_batches or search.threads)
        step, threads = Step(search.steps), search.threads
        started, computed = time.perf_counter(), time.process_time()
        yield step
        seconds, computed = time.perf_counter() - started, time.process_time() - computed
        if step.done and seconds > 0:
            search.record(tokens, step.done, seconds, computed / (seconds * threads))
