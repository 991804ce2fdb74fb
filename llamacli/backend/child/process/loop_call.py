"""Calls of a child from an event loop: no thread waits for them, so that a call costs no switches between threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final, cast

from llamacli.backend.child.process.child import Child
from llamacli.backend.child.process.stream import LEAVING_SECONDS, Message, PendingCall
from llamacli.backend.child.wire.codec import ProtocolError
from llamacli.backend.child.wire.faults import exception_of
from llamacli.backend.child.wire.frames import Channel, Failure, FromChild, Grant, Items, Result, ToChild
from llamacli.backend.child.wire.method import Method, decoder_of

_INLINE_BYTES: Final = 1 << 15
"""Bytes of arguments that are sent at once: they fit into the buffer of the connection, however busy the child is."""


class Mailbox:
    """The messages of one call on their way from the thread that receives them into an event loop.

    One wake-up of the loop carries all messages that have come until it runs, so that a busy loop gets fewer of them.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._messages: list[Message] = []
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Message) -> None:
        """Add a message. From any thread."""
        with self._lock:
            self._messages.append(message)
            woken, self._woken = self._woken, True
        if woken:
            return
        if threading.get_ident() == self._thread:
            self._wake()
        else:
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop is closed: the process ends, and nobody waits
                return

    async def take(self) -> list[Message]:
        """Return what has come, as soon as something has. For one task at a time."""
        while not self._messages:
            self._waiter = self._loop.create_future()
            await self._waiter
        with self._lock:
            messages, self._messages, self._woken = self._messages, [], False
        return messages

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class LoopReceiver:
    """Receives the messages of a child in an event loop: no thread is woken for them.

    The child's thread waits meanwhile, and takes over when the child has ended.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = threading.Event()
        self._descriptor: int | None = None
        self._fault: ProtocolError | None = None

    def run(self, channel: Channel, dispatch: Callable[[FromChild], None]) -> None:
        """See `Receiver`. On the child's thread."""
        self._later(lambda: self._begin(channel, dispatch))
        self._over.wait()
        if self._fault is not None:
            raise self._fault

    def stop(self) -> None:
        """See `Receiver`."""
        self._later(self._end)

    def _later(self, work: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # the loop is closed
            self._over.set()

    def _begin(self, channel: Channel, dispatch: Callable[[FromChild], None]) -> None:
        if self._over.is_set():
            return

        def receive(take: Callable[[object], Sequence[ToChild | FromChild] | None]) -> None:
            try:
                messages = take(FromChild)
            except ProtocolError as error:
                self._fault, messages = error, None
            for message in messages or ():
                dispatch(cast("FromChild", message))
            if messages is None:
                self._end()

        self._descriptor = channel.fileno()
        self._loop.add_reader(self._descriptor, receive, channel.receive_ready)
        receive(channel.received)

    def _end(self) -> None:
        if not self._over.is_set():
            if self._descriptor is not None:
                self._loop.remove_reader(self._descriptor)
            self._over.set()


class LoopCall:
    """A call in flight. Leaving `batches` ends it in the child, and waits until the child has confirmed that."""

    def __init__(self, child: Child, method: Method, mailbox: Mailbox, call: PendingCall) -> None:
        self._child, self._method, self._mailbox, self._call = child, method, mailbox, call
        self._credit = method.window
        self._ended = False

    @classmethod
    async def begin(cls, child: Child, method: Method, arguments: object) -> LoopCall:
        """Make a call. Raises the error of a child that has ended."""
        mailbox = Mailbox()
        packed = child.pack(method, arguments)
        if len(packed) <= _INLINE_BYTES:
            return cls(child, method, mailbox, child.begin(method, packed, method.window, mailbox.put))
        beginning = asyncio.ensure_future(asyncio.to_thread(child.begin, method, packed, method.window, mailbox.put))
        try:
            return cls(child, method, mailbox, await asyncio.shield(beginning))
        except asyncio.CancelledError:
            beginning.add_done_callback(lambda done: None if done.exception() else child.end(done.result()))
            raise

    async def batches(self) -> AsyncGenerator[list[Any], None]:
        """Yield the items in batches. Raises as `Child.call`."""
        decode = decoder_of(self._method.items) if self._method.items is not None else None
        try:
            while not self._ended:
                items: list[Any] = []
                end = None
                for message in await self._mailbox.take():
                    if isinstance(message, Items) and decode is not None:
                        items += map(decode, message.items)
                    elif isinstance(message, Result | Failure | Exception):
                        self._ended, end = True, message
                    else:
                        raise ProtocolError(f"the engine sent something that {self._method.name} does not send")
                if items:
                    yield items
                    self._grant(len(items))
                if end is not None:
                    self._result(end)
        finally:
            await self._close()

    async def result(self) -> Any:
        """Return the result of a method that streams nothing. Raises as `Child.call`. Cancelling it ends the call."""
        try:
            end, *more = await self._mailbox.take()
            if more or not isinstance(end, Result | Failure | Exception):
                raise ProtocolError(f"the engine sent something that {self._method.name} does not send")
            self._ended = True
        finally:
            await self._close()
        return self._result(end)

    def _result(self, end: Result | Failure | Exception) -> Any:
        if isinstance(end, Failure):
            raise exception_of(end.fault)
        if isinstance(end, Exception):
            raise end
        return None if self._method.result is None else decoder_of(self._method.result)(end.value)

    def _grant(self, taken: int) -> None:
        """Let the child go on, after the consumer has taken items."""
        self._credit -= taken
        if not self._ended and self._credit <= self._method.window // 2:
            more, self._credit = self._method.window - self._credit, self._method.window
            self._child.send(Grant(self._call.id, more))

    async def _close(self) -> None:
        """End the call, unless it has ended. A task that is cancelled meanwhile waits all the same, and is cancelled then."""
        if self._ended:
            return
        self._child.end(self._call)
        waiting = asyncio.ensure_future(self._wait_for_end())
        cancelled = False
        while not waiting.done():
            try:
                await asyncio.shield(waiting)
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    async def _wait_for_end(self) -> None:
        try:
            async with asyncio.timeout(LEAVING_SECONDS):
                while not any(isinstance(one, Result | Failure | Exception) for one in await self._mailbox.take()):
                    pass
        except TimeoutError:
            return
