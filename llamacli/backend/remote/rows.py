"""Answers of many jobs side by side over the servers of a pool, each job answered once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from llamacli.backend.remote.dispatch import Dispatch, Progress
from llamacli.backend.remote.exchange import OnLack, Order, cut_answers, exchange
from llamacli.backend.remote.pool import Endpoint, Pool
from llamacli.backend.remote.transport import Response
from llamacli.backend.remote.turn import RemoteTurn
from llamacli.engine.events import AnswerEvent, Failed
from llamacli.engine.generation.job import Job
from llamacli.errors import LlamacliError


class Rows:
    """Answers of one `answer_many`. `is_cancelled` says whether somebody has ended it."""

    def __init__(
        self, pool: Pool, *, most: int | None, on_lack: OnLack, is_cancelled: Callable[[], bool],
        on_open: Callable[[Endpoint, Response], None],
    ) -> None:  # fmt: skip
        self._dispatch: Dispatch[Job, list[AnswerEvent]] = Dispatch(pool, self._answer, most=most, is_cancelled=is_cancelled)
        self._on_lack = on_lack
        self._is_cancelled = is_cancelled
        self._on_open = on_open
        self._unaccepted: LlamacliError | None = None

    def stream(self, jobs: Iterator[Job | None]) -> Generator[AnswerEvent, None, None]:
        """Yield the events of all jobs, each job's together, as soon as it has ended.

        Raises:
            RemoteError: if no server of the pool can be reached any more.
            UsageError: if the servers cannot do what is asked, and that is not accepted.
        """
        for ended in self._dispatch.stream(jobs):
            if self._unaccepted is not None:
                raise self._unaccepted
            if isinstance(ended.done, Exception):
                yield Failed(ended.task.number, ended.done)
            else:
                yield from ended.done
        for job in self._dispatch.unfinished:
            yield from cut_answers((job.number,), "cancelled")

    def _answer(self, endpoint: Endpoint, job: Job, progress: Progress) -> list[AnswerEvent]:
        return list(exchange(endpoint, self._order(job), progress))

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
