"""Many answers from one engine: a window of jobs whose size follows the model, the memory and the measured speed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from llamacli.engine.generation.job import Job
from llamacli.engine.generation.prompts.prefix_cache import common_length
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.scheduler import Scheduler

LOOK_AHEAD = 64
"""Jobs that are read before the first runs, to choose the size of the context."""

LONG_PREFIX = 256
"""Shared prompt tokens from which one cache for all sequences is better than one each."""


class JobWindow:
    """Jobs read ahead from `jobs`, where None means: none at the moment, ask again after an event.

    `size_of` returns the context size in tokens that a job needs; a job that needs more than `size` waits for a larger context.
    """

    def __init__(self, jobs: Iterator[Job | None], size_of: Callable[[Job], int]) -> None:
        self._jobs = jobs
        self._size_of = size_of
        self._ready: deque[tuple[Job, int]] = deque()
        self._in_flight: dict[int, tuple[Job, float]] = {}
        self.size = 0

    def fill(self, count: int) -> bool:
        """Read ahead up to `count` jobs. Return whether any is left."""
        while len(self._ready) < count and (job := next(self._jobs, None)) is not None:
            self._ready.append((job, self._size_of(job)))
        return bool(self._ready)

    def grow(self) -> int:
        """Return the context size in tokens that suffices for the jobs read ahead and all before them."""
        self.size = max(self.size, *(size for _, size in self._ready))
        return self.size

    @property
    def shares_prefix(self) -> bool:
        """True if the jobs read ahead have a long beginning of their prompts in common."""
        prompts = [job.turn.prompt.tokens for job, _ in self._ready]
        return min((common_length(prompts[0], prompt) for prompt in prompts[1:]), default=0) >= LONG_PREFIX

    def requests(self, request_of: Callable[[Job], Request]) -> Iterator[tuple[int, Request] | None]:
        """Yield requests for the scheduler, with the numbers of their jobs; None when there is none at the moment."""
        while True:
            if not self.fill(1) or self._ready[0][1] > self.size:
                yield None
                continue
            job, _ = self._ready.popleft()
            self._in_flight[job.number] = job, time.perf_counter()
            yield job.number, request_of(job)

    def job(self, number: int) -> Job:
        """Return the job in flight that has a number."""
        return self._in_flight[number][0]

    def requested(self, number: int) -> float:
        """Return the time at which a job in flight was given to the scheduler, by `time.perf_counter`."""
        return self._in_flight[number][1]

    def done(self, number: int) -> None:
        """Forget a job that has ended."""
        del self._in_flight[number]


class Tuner:
    """Search for the number of sequences that generates most tokens per second, while the work continues.

    Double the scheduler's limit from `start` while that gains `GAIN`, and go back one step when it does not. The measure is the
    number of tokens generated in `STEPS` steps with all places taken.
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
        """Take in the number of tokens that a step generated."""
        if self.done:
            return
        if self._scheduler.active < self._scheduler.limit or generated < self._scheduler.limit:
            self._restart()  # free places or prompts in prefill: no measure of generation
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
