"""Admission of answers to a model: so many run at once, so many wait in line, and who leaves the line costs nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llamacli.errors import LlamacliError


class QueueFullError(LlamacliError):
    """As many requests wait as may. `retry_after` is a guess in seconds of when a place will be free."""

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} requests are waiting already", hint="try again later")
        self.retry_after = retry_after


class Admission:
    """Places for `running` answers, and a line for `limit` more, first come, first served. For one event loop."""

    def __init__(self, running: int, limit: int) -> None:
        self._free = running
        self._limit = limit
        self._line: deque[asyncio.Future[None]] = deque()
        self._seconds = 1.0  # a moving average of how long an answer keeps its place
        self._places = running
        self._closed: Exception | None = None

    @property
    def waiting(self) -> int:
        """Number of requests in line."""
        return len(self._line)

    @property
    def running(self) -> int:
        """Number of taken places."""
        return self._places - self._free

    @property
    def is_free(self) -> bool:
        """True if a request would not have to wait."""
        return self._free > 0 and not self._line

    @property
    def retry_after(self) -> float:
        """A guess in seconds of when a place in the line will be free."""
        return max(1.0, self._seconds / self._places)

    def close(self, error: Exception) -> None:
        """Admit nobody any more: those in line, and all who come later, get the error."""
        self._closed = error
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_exception(error)

    def check(self) -> None:
        """Raise QueueFullError if another request could not even wait, or the error of `close`."""
        if self._closed is not None:
            raise self._closed
        if not self._free and len(self._line) >= self._limit:
            raise QueueFullError(len(self._line), self.retry_after)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, and hold it for the block. Cancelling the task while it waits leaves the line.

        Raises:
            QueueFullError: if the line is full.
        """
        self.check()
        if self.is_free:
            self._free -= 1
        else:
            await self._wait()
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            yield
        finally:
            self._seconds += 0.2 * (clock() - started - self._seconds)
            self._pass_on()

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()  # the place was given to a request that left at the same moment
            elif turn in self._line:
                self._line.remove(turn)
            raise

    def _pass_on(self) -> None:
        """Give the place to the first in line."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
