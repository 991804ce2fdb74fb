"""Many requests side by side: a thread for each, over the servers of a pool, each task done once."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from llamacli.backend.remote.client import RefusedError
from llamacli.backend.remote.pool import Endpoint, Pool
from llamacli.backend.remote.problem import MalformedError
from llamacli.errors import RemoteError

TRIES = 8
"""Times that a task is sent, to whichever server, before it has failed."""

_LOOK_SECONDS = 0.05

Task = TypeVar("Task")
Done = TypeVar("Done")


@dataclass(slots=True)
class Progress:
    """How far a request has come. `has_begun`: a part of the answer was yielded, so it must not be asked for again."""

    has_begun: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


Work = Callable[[Endpoint, Task, Progress], Done]
"""What a server is asked for a task.

It raises RefusedError or RemoteError if another server, or this one later, may do it. Any other error is the task's own.
"""


@dataclass(frozen=True, slots=True)
class Ended(Generic[Task, Done]):
    """A task with what became of it, or the error that took its place."""

    task: Task
    done: Done | Exception


@dataclass(frozen=True, slots=True)
class _Try(Generic[Task]):
    """Task number `place` of the dispatch, and the number of its try, from 0."""

    task: Task
    place: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class _Result(Generic[Task, Done]):
    """The end of a try. `done` is None if it is to be tried again; `lost` is the reason why a server was left out."""

    tried: _Try[Task]
    done: Done | Exception | None
    lost: RemoteError | None = None


class Dispatch(Generic[Task, Done]):
    """Tasks over the servers of a pool, at most `most` at once. `is_cancelled` says whether somebody has ended it."""

    def __init__(self, pool: Pool, work: Work[Task, Done], *, most: int | None, is_cancelled: Callable[[], bool]) -> None:
        self._pool = pool
        self._work = work
        self._most = most
        self._is_cancelled = is_cancelled
        self._results: queue.SimpleQueue[_Result[Task, Done]] = queue.SimpleQueue()
        self._again: deque[_Try[Task]] = deque()
        self._running: dict[int, _Try[Task]] = {}
        self._count = 0

    @property
    def unfinished(self) -> list[Task]:
        """The tasks that were taken and have not ended: those that are left when somebody has ended the stream."""
        return [tried.task for tried in (*self._running.values(), *self._again)]

    def stream(self, tasks: Iterator[Task | None]) -> Iterator[Ended[Task, Done]]:
        """Yield the tasks as they end, until all have ended or somebody ends it. None: no task until another has ended.

        Raises:
            RemoteError: if no server of the pool can be reached any more.
        """
        is_exhausted = False
        while True:
            is_exhausted = self._start(tasks, is_exhausted=is_exhausted)
            if self._is_cancelled() or (is_exhausted and not self._running and not self._again):
                return
            try:
                result = self._results.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            yield from self._taken(result)

    def _start(self, tasks: Iterator[Task | None], *, is_exhausted: bool) -> bool:
        """Start as many tasks as the servers take now; return whether there are no others."""
        while (self._most is None or len(self._running) < self._most) and not self._is_cancelled():
            endpoint = self._pool.take()
            if endpoint is None:
                break
            if self._again:
                tried = self._again.popleft()
            elif is_exhausted:
                self._pool.give_back(endpoint)
                break
            else:
                try:
                    task = next(tasks)
                except StopIteration:
                    is_exhausted, task = True, None
                if task is None:
                    self._pool.give_back(endpoint)
                    break
                tried = _Try(task, self._count)
                self._count += 1
            self._running[tried.place] = tried
            threading.Thread(target=self._run, args=(endpoint, tried), name="request", daemon=True).start()
        return is_exhausted

    def _taken(self, result: _Result[Task, Done]) -> Iterator[Ended[Task, Done]]:
        del self._running[result.tried.place]
        if result.done is not None:
            yield Ended(result.tried.task, result.done)
            return
        if result.lost is not None and self._pool.is_lost:
            raise result.lost
        if result.tried.number + 1 >= TRIES and result.lost is not None:
            yield Ended(result.tried.task, result.lost)
            return
        self._again.append(replace(result.tried, number=result.tried.number + (result.lost is not None)))

    def _run(self, endpoint: Endpoint, tried: _Try[Task]) -> None:
        """Do one task on a thread. Whatever happens, there is one result."""
        started = time.monotonic()
        progress = Progress()
        lost: RemoteError | None = None
        done: Done | Exception | None = None
        try:
            done = self._work(endpoint, tried.task, progress)
            self._pool.succeeded(endpoint, time.monotonic() - started, progress.headers)
        except RefusedError as refused:
            if refused.refusal.status in (429, 503):
                self._pool.was_busy(endpoint, tried.number, refused.headers)
            elif refused.refusal.status in (408, 409) or refused.refusal.status >= 500:
                lost = RemoteError(endpoint.client.error(refused).message)
                self._pool.failed(endpoint)
            else:
                self._pool.give_back(endpoint)
                done = endpoint.client.error(refused)
        except MalformedError as error:
            self._pool.give_back(endpoint)
            done = error
        except RemoteError as error:
            lost = error
            self._pool.failed(endpoint)
        except Exception as error:  # noqa: BLE001  # the task's own, which its caller words
            self._pool.give_back(endpoint)
            done = error
        self._results.put(_Result(tried, done, lost))
