"""Jobs on threads whose C calls run in parallel, with the results in the order of the jobs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from llamacli.engine.runtime.vocabulary import start_with_stack

J = TypeVar("J")
R = TypeVar("R")

_WAITING = 4
"""Queued jobs per thread: enough that no thread waits for the next, few enough for little memory."""


class _Slot(Generic[J, R]):
    """A job, and later its result or its exception."""

    def __init__(self, job: J) -> None:
        self.job = job
        self.result: list[R] = []
        self.failure: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def run(self, work: Callable[[J], R]) -> None:
        try:
            self.result.append(work(self.job))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is requested
            self.failure = error
        finally:
            self._done.release()

    def wait(self) -> R:
        self._done.acquire()
        if self.failure is not None:
            raise self.failure
        return self.result[0]


def in_order(jobs: Iterable[J | None], work: Callable[[J], R], *, threads: int, stack: int) -> Iterator[R]:
    """Yield `work(job)` for each job, in their order. Threads have `stack` bytes of stack and start when they have a job.

    None among the jobs means that the next one has to wait, so all pending results are yielded first.

    When the iterator is closed or a job fails, no further job starts, and all threads end.
    """
    tasks: SimpleQueue[_Slot[J, R] | None] = SimpleQueue()
    pending: deque[_Slot[J, R]] = deque()
    workers: list[threading.Thread] = []
    stopped = threading.Event()

    def serve() -> None:
        while (slot := tasks.get()) is not None:
            if not stopped.is_set():
                slot.run(work)

    try:
        for job in jobs:
            if job is None:
                while pending:
                    yield pending.popleft().wait()
                continue
            slot: _Slot[J, R] = _Slot(job)
            pending.append(slot)
            tasks.put(slot)
            if len(workers) < threads:
                workers.append(threading.Thread(target=serve, name="llamacli-tokenize", daemon=True))
                start_with_stack(workers[-1], stack)
            if len(pending) > threads * _WAITING:
                yield pending.popleft().wait()
        while pending:
            yield pending.popleft().wait()
    finally:
        stopped.set()
        for _ in workers:
            tasks.put(None)
        for worker in workers:
            worker.join()
