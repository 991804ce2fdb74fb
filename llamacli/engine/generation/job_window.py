"""Many prompts through one model: a window of jobs over the sequences of one scheduler, results as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from llamacli.engine.events import Event, Failed, Finished, Token
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.generation.sequence import Request, Sequence
from llamacli.errors import LlamacliError

AHEAD = 4
"""Jobs that wait for each that runs: the scheduler sees who shares a beginning, and a free place is taken at once."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request and whatever its owner wants to find again with its events."""

    request: Request
    owner: Any


def run_jobs(scheduler: Scheduler, take: Callable[[], Job | None], tuner: Tuner | None = None) -> Iterator[tuple[Any, Event]]:
    """The events of jobs with their owners, each job's in order. `take` is asked for the next job when places come near.

    Ends when nothing runs and `take` gives None. A job that fails, or is refused from the beginning, ends with `Failed`; the
    others go on.

    Raises:
        DecodeError, MemoryFullError: the batch failed.
    """
    running: dict[int, Any] = {}
    while True:
        while len(running) < scheduler.limit * (1 + AHEAD):
            job = take()
            if job is None:
                break
            try:
                sequence: Sequence = scheduler.submit(job.request)
            except LlamacliError as error:
                yield job.owner, Failed(-1, error)
                continue
            running[sequence.id] = job.owner
        if not running:
            return
        events = scheduler.step()
        if tuner is not None:
            tuner.step(sum(isinstance(event, Token) for event in events))
        for event in events:
            owner = running[event.sequence]
            if isinstance(event, Finished | Failed):
                del running[event.sequence]
            yield owner, event


class Tuner:
    """Finds how many sequences at once give most tokens a second, by trying while the work goes on.

    Doubles the scheduler's limit from `start` as long as it gains `GAIN`, and goes back one step when it does not. What is
    measured is the tokens that `STEPS` steps generate with all places taken.
    """

    STEPS = 24
    GAIN = 1.05

    def __init__(self, scheduler: Scheduler, most: int, start: int = 4) -> None:
        self._scheduler = scheduler
        self._most = most
        self._best = 0.0
        self._tokens = 0
        self._steps = 0
        self._since = time.perf_counter()
        self.done = start >= most
        scheduler.limit = min(start, most)

    def step(self, generated: int) -> None:
        """Tells that a step generated so many tokens."""
        if self.done:
            return
        if self._scheduler.active < self._scheduler.limit or generated < self._scheduler.limit:
            self._restart()  # places are free or prompts are being read: this says nothing
            return
        self._tokens += generated
        self._steps += 1
        if self._steps < self.STEPS:
            return
        rate = self._tokens / (time.perf_counter() - self._since)
        if rate < self._best * self.GAIN:
            self._scheduler.limit //= 2
            self.done = True
        elif self._scheduler.limit * 2 > self._most:
            self.done = True
        else:
            self._best = rate
            self._scheduler.limit *= 2
        self._restart()

    def _restart(self) -> None:
        self._tokens = self._steps = 0
        self._since = time.perf_counter()
