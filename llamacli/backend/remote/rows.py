"""Many answers side by side: a thread for each, over the servers of a pool, each job answered once."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

from llamacli.backend.remote.client import RefusedError
from llamacli.backend.remote.exchange import OnLack, Order, Progress, cut_answers, exchange
from llamacli.backend.remote.pool import Endpoint, Pool
from llamacli.backend.remote.transport import Response
from llamacli.backend.remote.turn import RemoteTurn
from llamacli.engine.events import AnswerEvent, Failed
from llamacli.engine.generation.job import Job
from llamacli.errors import LlamacliError, RemoteError

TRIES = 8
"""Times that a job is sent, to whichever server, before it has failed."""

_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class _Try:
    """Try number `number`, from 0, of a job."""

    job: Job
    number: int = 0


@dataclass(frozen=True, slots=True)
class _Result:
    """The end of a try: its events, or None if it is to be tried again. `lost` is the reason why a server was left out."""

    tried: _Try
    events: list[AnswerEvent] | None
    lost: RemoteError | None = None


class Rows:
    """Answers of one `answer_many`. `is_cancelled` says whether somebody has ended it."""

    def __init__(
        self, pool: Pool, *, most: int | None, on_lack: OnLack, is_cancelled: Callable[[], bool],
        on_open: Callable[[Endpoint, Response], None],
    ) -> None:  # fmt: skip
        self._pool = pool
        self._most = most
        self._on_lack = on_lack
        self._is_cancelled = is_cancelled
        self._on_open = on_open
        self._results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
        self._again: deque[_Try] = deque()
        self._running: dict[int, _Try] = {}
        self._unaccepted: LlamacliError | None = None

    def stream(self, jobs: Iterator[Job | None]) -> Generator[AnswerEvent, None, None]:
        """Yield the events of all jobs, each job's together, as soon as it has ended.

        Raises:
            RemoteError: if no server of the pool can be reached any more.
            UsageError: if the servers cannot do what is asked, and that is not accepted.
        """
        is_exhausted = False
        while True:
            is_exhausted = self._start(jobs, is_exhausted=is_exhausted)
            if self._unaccepted is not None:
                raise self._unaccepted
            if self._is_cancelled():
                yield from self._cancelled()
                return
            if not self._running and not self._again and is_exhausted:
                return
            try:
                result = self._results.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            yield from self._taken(result)

    def _start(self, jobs: Iterator[Job | None], *, is_exhausted: bool) -> bool:
        """Start as many jobs as the servers take now; return whether there are no others."""
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
                    job = next(jobs)
                except StopIteration:
                    is_exhausted, job = True, None
                if job is None:  # none is available until another has ended
                    self._pool.give_back(endpoint)
                    break
                tried = _Try(job)
            self._running[tried.job.number] = tried
            threading.Thread(target=self._work, args=(endpoint, tried), name="row", daemon=True).start()
        return is_exhausted

    def _taken(self, result: _Result) -> Iterator[AnswerEvent]:
        del self._running[result.tried.job.number]
        if result.events is not None:
            yield from result.events
            return
        if result.lost is not None and self._pool.is_lost:
            raise result.lost
        if result.tried.number + 1 >= TRIES and result.lost is not None:
            yield Failed(result.tried.job.number, result.lost)
            return
        self._again.append(replace(result.tried, number=result.tried.number + (result.lost is not None)))

    def _cancelled(self) -> Iterator[AnswerEvent]:
        for number in (*self._running, *(tried.job.number for tried in self._again)):
            yield from cut_answers((number,), "cancelled")

    def _work(self, endpoint: Endpoint, tried: _Try) -> None:
        """Answer one job on a thread. Whatever happens, there is one result."""
        started = time.monotonic()
        progress = Progress()
        lost: RemoteError | None = None
        events: list[AnswerEvent] | None = None
        try:
            events = list(exchange(endpoint, self._order(tried.job), progress))
            self._pool.succeeded(endpoint, time.monotonic() - started, progress.headers or {})
        except RefusedError as refused:
            if refused.refusal.status in (429, 503):
                self._pool.was_busy(endpoint, tried.number, refused.headers)
            elif refused.refusal.status in (408, 409) or refused.refusal.status >= 500:
                lost = RemoteError(endpoint.client.error(refused).message)
                self._pool.failed(endpoint)
            else:
                self._pool.give_back(endpoint)
                events = [Failed(tried.job.number, endpoint.client.error(refused))]
        except RemoteError as error:
            lost = error
            self._pool.failed(endpoint)
        except Exception as error:  # noqa: BLE001  # the row's own, which its caller words
            self._pool.give_back(endpoint)
            events = [Failed(tried.job.number, error)]
        self._results.put(_Result(tried, events, lost))

    def _lack(self, parameter: str) -> None:
        """Tell what the server cannot use. If that is not accepted, all rows end with it."""
        try:
            self._on_lack(parameter)
        except LlamacliError as error:
            self._unaccepted = error
            raise

    def _order(self, job: Job) -> Order:
        turn = job.turn
        if not isinstance(turn, RemoteTurn):
            raise LlamacliError("a turn of another backend cannot be answered by a server")
        return Order(
            turn=turn,
            params=job.params,
            on_lack=self._lack,
            is_cancelled=self._is_cancelled,
            on_open=self._on_open,
            indexes=(job.number,),
            retries=0,
        )
