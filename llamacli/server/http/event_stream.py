"""A stream of server-sent events. Comments keep the connection alive while there is nothing to say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from llamacli.server.http.exchange import ClientGoneError, Exchange, dump, problem_and_headers

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the events otherwise
)


def event(document: Any, name: str | None = None) -> bytes:
    """Return a document as an event, with the name of its type where the API has such."""
    head = f"event: {name}\n".encode() if name is not None else b""
    return head + b"data: " + dump(document) + b"\n\n"


class EventStream:
    """The response of one exchange as a stream. The head is sent with the first event or comment, not before.

    `status` is what the comments say.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._clock = asyncio.get_running_loop().time
        self._sent = self._clock()
        self._starting = asyncio.Lock()
        self.status = "waiting"

    async def send(self, data: bytes) -> None:
        """Send events. Raises ClientGoneError if the client does not take them."""
        if not self._exchange.started:
            async with self._starting:
                if not self._exchange.started:
                    await self._exchange.start(200, HEADERS)
        await self._exchange.write(data, more=True)
        self._sent = self._clock()

    async def ping(self) -> None:
        """Send a comment whenever nothing was sent for a while."""
        pause = self._exchange.limits.ping_seconds
        while True:
            await asyncio.sleep(max(0.01, self._sent + pause - self._clock()))
            if self._clock() - self._sent >= pause:
                await self.send(f": {self.status}\n\n".encode())


@asynccontextmanager
async def event_stream(
    exchange: Exchange, *, error_event: Callable[[Exception], bytes] | None = None, end: bytes = b""
) -> AsyncIterator[EventStream]:
    """Open a stream for the block. `end` are the last bytes of a stream that did not fail.

    An error before anything was sent is raised, for an HTTP status; a later one is an event, which ends the stream.
    """
    stream = EventStream(exchange)
    pings = asyncio.ensure_future(stream.ping())
    try:
        yield stream
        await stream.send(end)
    except Exception as error:  # the boundary of a request
        if isinstance(error, ClientGoneError) or not exchange.started:
            raise
        exchange.record.status = problem_and_headers(error)[0].status
        await exchange.write((error_event or _error_event)(error), more=True)
    finally:
        pings.cancel()
        with contextlib.suppress(asyncio.CancelledError, ClientGoneError):
            await pings
    await exchange.write(b"")


def _error_event(error: Exception) -> bytes:
    return event(problem_and_headers(error)[0].document())
