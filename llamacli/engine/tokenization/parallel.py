"""The same work on many jobs, on threads whose C calls run at the same time, the results in the order of the jobs."""

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
"""Jobs in the queue for each thread: enough that none waits for the next, few enough that little is in memory."""


class _Slot(Generic[J, R]):
    """A job, and later its result or the exception that ended it."""

    def __init__(self, job: J) -> None:
        self.job = job
        self.result: list[R] = []
        self.failure: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def run(self, work: Callable[[J], R]) -> None:
        try:
            self.result.append(work(self.job))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is wanted
            self.failure = error
        finally:
            self._done.release()

    def wait(self) -> R:
        self._done.acquire()
        if self.failure is not None:
            raise self.failure
        return self.result[0]


def in_order(jobs: Iterable[J | None], work: Callable[[J], R], *, threads: int, stack: int) -> Iterator[R]:
    """`work(job)` for each job, in their order. Threads have `stack` bytes of stack; they start when there are jobs for them.

    None among the jobs: the next has to be waited for, so that all results there are come first.

    When the iterator is closed or a job fails, no further job begins, and all threads have ended.
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
