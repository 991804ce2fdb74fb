"""uvicorn's HTTP protocol with deadlines: for the head of a request, and for a client that does not take its response."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Deadlines(asyncio.Protocol):
    """A connection that is closed if a request's head takes too long, or if what is written to it is not read.

    A base beside one of uvicorn's protocols.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    cycle: Any

    head_seconds = 20.0
    """Seconds for the head of the first request, from the connection on, and of each later one, from its first byte on."""

    write_seconds = 60.0
    """Seconds without any progress of a full buffer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: asyncio.TimerHandle | None = None
        self._write: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self._head = self.loop.call_later(self.head_seconds, self._abort)

    def data_received(self, data: bytes) -> None:
        """Start the deadline of a request with its first byte, and end it with its head."""
        cycle = self.cycle
        super().data_received(data)
        if self.cycle is not cycle:
            self._stop_head()
        elif self._head is None and getattr(cycle, "response_complete", True) and self._is_open:
            self._head = self.loop.call_later(self.head_seconds, self._abort)

    def pause_writing(self) -> None:
        """Start the deadline of a full buffer."""
        super().pause_writing()
        if self._write is None:
            self._write = self.loop.call_later(self.write_seconds, self._check_progress, self._unsent())

    def resume_writing(self) -> None:
        """End the deadline: the client has read."""
        super().resume_writing()
        self._stop_write()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadlines."""
        self._stop_head()
        self._stop_write()
        super().connection_lost(exc)

    @property
    def _is_open(self) -> bool:
        return self.transport.get_protocol() is self and not self.transport.is_closing()

    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _check_progress(self, before: int) -> None:
        """Abort a connection whose buffer has not become smaller. A slow reader is not a dead one."""
        unsent = self._unsent()
        if unsent >= before:
            self._abort()
        else:
            self._write = self.loop.call_later(self.write_seconds, self._check_progress, unsent)

    def _abort(self) -> None:
        self.transport.abort()

    def _stop_head(self) -> None:
        timer, self._head = self._head, None
        if timer is not None:
            timer.cancel()

    def _stop_write(self) -> None:
        timer, self._write = self._write, None
        if timer is not None:
            timer.cancel()


class H11Connection(Deadlines, H11Protocol):
    """A connection whose requests h11 reads."""
