"""The threads of a context, followed step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llamacli.engine.runtime.threads.idle_watch import IdleWatch
from llamacli.engine.runtime.threads.search import PROMPT, ThreadSearch


@dataclass(slots=True)
class Step:
    """A call that evaluates: at most `most` steps (None is any number), of which it does `done`."""

    most: int | None = None
    done: int = 1


class AdaptiveThreads:
    """The threads of a context, at most `most`, set before each of its steps.

    `apply` is called with the threads for a single token and those for a batch. `for_batches` fixes the latter. Generation and
    prompts are searched apart, because the one reads weights and the other multiplies.
    """

    def __init__(self, most: int, for_batches: int | None, apply: Callable[[int, int], object]) -> None:
        self._most = most
        self._for_batches = for_batches
        self._apply = apply
        self._applied = most
        self._watch = IdleWatch()
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
            if threads < self._most and self._watch.sees_freed(threads, started + seconds):
                search.freed()
