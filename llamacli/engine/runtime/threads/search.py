"""The number of threads of each step, chosen by the measured times of the steps before.

The threads of a step wait for each other hundreds of times. Beside another program one of them is always late, and all of them
together are slower than fewer would be. So the number is found in trials of a few steps, and found again when times change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from llamacli.engine.runtime.threads.step_times import IN_A_ROW, LONG, SECONDS, WINDOW, Measurement, StepTimes

PROMPT = 32
"""Tokens from which a batch counts as a prompt."""

_TRIAL = 2
"""Steps of a trial of fewer threads; one of more has those of a window, because a crowded machine has lucky moments."""

_GAIN = 0.95
"""A trial of fewer threads wins if its steps take at most this share of the time of those before."""

_EFFECT = 1 / 5
"""A trial of more threads wins if they have this share of the effect that they have at best."""

_SLOWER = 1.3
"""Steps that take longer than the best ones by this factor are a sign of trouble."""

_BUSY = 0.7
"""So are threads that compute for less than this share of the time: they wait for a processor, or for a thread that does."""

_DRIFT = 1.001
"""The best time grows by this factor with each step, because the context grows."""

_PROBATION = 64
"""Steps after a change in which it is undone without a trial, if they are slower than those before it."""

_PAUSE = 10
"""Steps after a change, or a trial that lost nothing, before the next trial."""

_SOON = 3
"""Steps after a change for trouble before more threads are tried for the first time: it may have been a hiccup."""

Reason = Literal["calm", "more", "trouble"]

_SHARES: dict[Reason, float] = {"calm": 0.004, "more": 0.05, "trouble": 0.05}
"""The share of the time that trials may lose: without a reason, of more threads, and after a sign of trouble. The last two are
halved with each failure, down to `_LEAST_SHARES`."""

_LEAST_SHARES: dict[Reason, float] = {"calm": 0.004, "more": 0.0125, "trouble": 0.004}


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
        self._failures: dict[Reason, int] = {"calm": 0, "more": 0, "trouble": 0}  # trials since the last change, and hiccups
        self._due: dict[Reason, float] = {"calm": math.inf, "more": 0.0, "trouble": 0.0}
        self._trial: _Before | None = None
        self._forget(0)

    @property
    def steps(self) -> int | None:
        """Steps that may follow each other before they are recorded; None is any number."""
        return 1 if self._trial is not None else None

    def freed(self) -> None:
        """Try more threads soon: processors have become idle."""
        self._failures["more"], self._due["more"] = 0, self._now

    def record(self, tokens: int, steps: int, seconds: float, busy: float = 1.0) -> None:
        """Record the time of `steps` steps of `tokens` each, and choose the threads of the next one.

        `busy` is the share of the time in which the threads computed; 1 if it is not known.
        """
        self._now += seconds
        size = tokens if tokens < PROMPT else 1 << (tokens.bit_length() - 1)
        if size != self._size:
            self._forget(size)
        self._last.add(Measurement(steps, seconds * size / tokens, busy))  # large batches of like sizes compare by the token
        if self._trial is not None:
            self._judge(self._trial)
        else:
            self._since += steps
            self._consider(steps)

    def _forget(self, size: int) -> None:
        """Begin anew with batches of another size, with the same threads."""
        if self._trial is not None:
            self.threads = self._trial.threads
        self._size = size
        self._trial = None
        self._changed: _Before | None = None
        self._since = 0  # steps since the last change
        self._last = StepTimes()
        self._best, self._least_busy = math.inf, _BUSY

    def _consider(self, steps: int) -> None:
        """Undo a change that did not pay, or start a trial that is due."""
        last, changed = self._last, self._changed
        if changed is not None and self._since <= _PROBATION and self._are_slower_than(changed.pace / _GAIN):
            self._wait("more" if changed.threads < self.threads else "trouble", self._since * (last.pace() - changed.pace))
            self._return_to(changed)
        elif self.threads > 1 and self._now >= self._due["trouble"] and self._are_in_trouble():
            self._least_busy = min(self._least_busy, _GAIN * last.busy)
            self._stride = max(1, self.threads // 4)
            self._try("trouble", self.threads, last.pace())
        elif last.count >= WINDOW:
            pace = last.pace()
            self._best = min(self._best * _DRIFT**steps, pace)
            if self._due["calm"] == math.inf:
                self._wait("calm", _TRIAL * pace)
            if self.threads < self._most and self._now >= self._due["more"]:
                self._try("more", self.threads, pace)
            elif self.threads > 1 and self._now >= self._due["calm"]:
                self._try("calm", self.threads, pace)

    def _are_slower_than(self, pace: float) -> bool:
        return self._last.all_recent(lambda one: one.seconds > one.steps * pace)

    def _are_in_trouble(self) -> bool:
        last, slow = self._last, _SLOWER * self._best
        if last.count >= LONG and (last.pace(LONG) > slow or last.busy < 0.8 * self._least_busy):
            return True
        least = IN_A_ROW * (1 + self._failures["trouble"])
        return any(
            last.all_recent(is_bad, least)
            for is_bad in (lambda one: one.seconds > one.steps * slow, lambda one: one.busy < self._least_busy)
        )

    def _try(self, reason: Reason, threads: int, pace: float) -> bool:
        """Start a trial of more or fewer threads than these, whose pace is known. Return False if there are none."""
        tried = max(1, min(self._most, threads + (self._stride if reason == "more" else -self._stride)))
        if tried == threads:
            return False
        self._trial, self.threads, self._last = _Before(threads, pace, reason), tried, StepTimes()
        return True

    def _judge(self, trial: _Before) -> None:
        """End the trial if its result is known, and go on in its direction as far as that pays."""
        count, pace = self._last.count, self._last.pace(WINDOW)
        needed = WINDOW if trial.reason == "more" else _TRIAL
        if count < needed and count * pace < SECONDS and pace < _SLOWER * trial.pace:
            return
        if pace <= trial.pace * self._winning_share(trial.threads):
            self._failures = {"calm": 0, "more": 0, "trouble": self._hiccups(trial)}
            self._due["calm"] = self._now + _PAUSE * pace
            self._due["more"] = self._now + (_SOON if trial.reason == "trouble" else _PAUSE) * pace
            self._trial, self._changed = None, trial
            self._since, self._last, self._best = 0, StepTimes(), pace
            self._stride *= 2
            if not self._try(trial.reason, self.threads, pace):
                self._stride = 1
        elif (distance := abs(self.threads - trial.threads)) > 1:
            self._stride = distance // 2
            self._try(trial.reason, trial.threads, trial.pace)
        else:
            self._failures[trial.reason] += 1
            # after a hiccup, the steps would have been as fast as the best ones
            instead = min(self._best, trial.pace) if trial.reason == "trouble" else trial.pace
            self._wait(trial.reason, count * (pace - instead))
            self._return_to(trial)

    def _hiccups(self, won: _Before) -> int:
        """The trials so far that hiccups caused, now that this one is won."""
        if won.reason == "trouble":
            return self._failures["trouble"]
        before = self._changed
        was_hiccup = won.reason == "more" and before is not None and before.reason == "trouble" and self._since <= _PAUSE
        return self._failures["trouble"] + 1 if was_hiccup else 0

    def _winning_share(self, threads: int) -> float:
        """The share of the time with so many threads with which a trial wins: more threads must show processors."""
        if self.threads < threads:
            return _GAIN
        return 1 - (1 - threads / self.threads) * _EFFECT

    def _wait(self, reason: Reason, lost: float) -> None:
        """Postpone the next trial for this reason until `lost` seconds are its share of the time."""
        share = max(_SHARES[reason] / 2 ** self._failures[reason], _LEAST_SHARES[reason])
        self._due[reason] = self._now + max(_PAUSE * self._last.pace(), lost / share)

    def _return_to(self, before: _Before) -> None:
        """Take the earlier number of threads. Their pace is now the normal one."""
        self.threads, self._best = before.threads, before.pace
        self._trial = self._changed = None
        self._stride, self._since, self._last = 1, 0, StepTimes()
