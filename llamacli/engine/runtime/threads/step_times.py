"""The times of the last steps with the same threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW = 4
"""Steps whose mean is compared."""

LONG = 16
"""Steps whose mean shows what not every one of them does, such as a quota."""

IN_A_ROW, SECONDS = 3, 0.1
"""Measurements, or seconds of them, that must all be bad before something is done: machines have hiccups. Each trial that a
hiccup caused asks for as many more."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Steps that were measured as one, and the share of their time in which the threads computed."""

    steps: int
    seconds: float
    busy: float


class StepTimes:
    """The last measurements with the same threads."""

    def __init__(self) -> None:
        self._all: deque[Measurement] = deque()
        self.count = 0

    def add(self, measurement: Measurement) -> None:
        """Add one, and forget those before the last `LONG` steps."""
        self._all.append(measurement)
        self.count += measurement.steps
        while self.count - self._all[0].steps >= LONG:
            self.count -= self._all.popleft().steps

    def pace(self, least: int = WINDOW) -> float:
        """Seconds of a step, in the last measurements that have at least so many steps."""
        count, seconds = 0, 0.0
        for one in reversed(self._all):
            count, seconds = count + one.steps, seconds + one.seconds
            if count >= least:
                break
        return seconds / count

    @property
    def busy(self) -> float:
        """The share of all their time in which the threads computed."""
        return sum(one.busy * one.seconds for one in self._all) / sum(one.seconds for one in self._all)

    def all_recent(self, is_bad: Callable[[Measurement], bool], least: int = IN_A_ROW) -> bool:
        """Return whether the last `least` measurements, or fewer that took long, are all bad. False if they are too few."""
        count, seconds = 0, 0.0
        for one in reversed(self._all):
            if not is_bad(one):
                return False
            count, seconds = count + 1, seconds + one.seconds
            if count == least or seconds >= SECONDS:
                return True
        return False
