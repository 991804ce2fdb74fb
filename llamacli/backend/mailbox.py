"""The way of messages from a thread into an event loop, and the end of work that must not be left."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Messages on their way from a thread into the running event loop.

    One wake-up of the loop carries all messages that have come until it runs, so that a busy loop gets fewer of them.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._messages: list[T] = []
        self._woken = False
        self._ready = asyncio.Event()

    def put(self, message: T) -> None:
        """Add a message. From any thread."""
        with self._lock:
            self._messages.append(message)
            woken, self._woken = self._woken, True
        if not woken:
            try:
                self._loop.call_soon_threadsafe(self._ready.set)
            except RuntimeError:  # the loop is closed: the process ends, and nobody waits
                return

    async def take(self) -> list[T]:
        """Return what has come, as soon as something has."""
        await self._ready.wait()
        self._ready.clear()
        with self._lock:
            messages, self._messages, self._woken = self._messages, [], False
        return messages


async def settled(work: asyncio.Future[Any]) -> None:
    """Wait for work even if this task is cancelled meanwhile, which is then raised again."""
    cancelled = False
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
