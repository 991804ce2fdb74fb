"""The items of one call in the eyes of its caller, with the credit that bounds what the child computes ahead."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, Protocol

import msgspec

from llamacli.backend.child.wire.codec import ProtocolError, prepare
from llamacli.backend.child.wire.faults import exception_of
from llamacli.backend.child.wire.frames import Channel, Failure, Feed, FromChild, Grant, Items, Result, Want
from llamacli.backend.child.wire.method import Method, decoder_of, encoder_of
from llamacli.values import dataclass

Send = Callable[[Feed | Grant], None]

Source = Callable[[int], tuple[list[Any], bool]]
"""Returns up to a number of items for the child, and whether they are the last. None at all: ask again soon."""

Message = Items | Want | Result | Failure | Exception

LEAVING_SECONDS: Final = 5.0
"""Time for a child to confirm the end of a call whose caller left."""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call in flight. `deliver` gets its messages in order, on the thread that receives; an exception among them is its end.

    `is_retried` is that of its method.
    """

    id: int
    deliver: Callable[[Message], None]
    is_retried: bool = False


class Receiver(Protocol):
    """Receives the messages of a child."""

    def run(self, channel: Channel, dispatch: Callable[[FromChild], None]) -> None:
        """Dispatch messages until the other end is closed, or `stop`. Raises ProtocolError."""

    def stop(self) -> None:
        """Let `run` end. From any thread."""


class ItemStream:
    """Reader of one call's messages. `lockstep` is true for items before which the child may not compute ahead."""

    def __init__(
        self, send: Send, number: int, method: Method, lockstep: Callable[[Any], bool] | None, source: Source | None
    ) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._send, self._number, self._method = send, number, method
        self._lockstep, self._source = lockstep, source
        self._wanted = 0
        self.credit = method.window if lockstep is None else 1

    def read(self) -> Generator[Any, Any, Any]:
        """Yield the items and return the result. A value that is sent into the iterator goes to the child."""
        for kind in (self._method.items, self._method.result):
            prepare(kind)  # while the child works
        while True:
            message = self._next_message()
            if isinstance(message, Items):
                yield from self._yield_items(message.items)
            elif isinstance(message, Want):
                self._wanted = message.count
                self._answer_want()
            elif isinstance(message, Result):
                return None if self._method.result is None else decoder_of(self._method.result)(message.value)
            elif isinstance(message, Failure):
                raise exception_of(message.fault)
            else:
                raise message

    def drain(self) -> None:
        """Wait until the child has ended the call, which its caller left, so that the next one finds the child idle."""
        with contextlib.suppress(queue.Empty):
            while not isinstance(self.messages.get(timeout=LEAVING_SECONDS), Result | Failure | Exception):
                pass

    def _yield_items(self, items: Sequence[msgspec.Raw]) -> Generator[Any, Any, None]:
        if self._method.items is None:
            raise ProtocolError(f"the engine sent items of {self._method.name}, which has none")
        decode = decoder_of(self._method.items)
        for raw in items:
            item = decode(raw)
            self.credit -= 1
            answer = yield item
            if answer is not None:
                self._give([answer], is_last=False)
            self._grant(item)

    def _grant(self, item: Any) -> None:
        """Let the child go on, after the consumer has asked for what follows `item`."""
        if self._lockstep is not None and self._lockstep(item):
            more = 1
        else:
            self._lockstep = None
            window = self._method.window
            more = window - self.credit if self.credit <= window // 2 else 0
        if more:
            self.credit += more
            self._send(Grant(self._number, more))

    def _next_message(self) -> Message:
        """Return the next message. While the child wants items, ask for them between the messages."""
        while self._wanted:
            try:
                return self.messages.get_nowait()
            except queue.Empty:
                self._answer_want()
        return self.messages.get()

    def _answer_want(self) -> None:
        """Give the child what it wants; the wish stays if nothing is there yet."""
        if self._source is None:
            raise ProtocolError(f"the engine wants items for {self._method.name}, which takes none")
        items, is_last = self._source(self._wanted)
        if items or is_last:
            self._wanted = 0
            self._give(items, is_last=is_last)

    def _give(self, items: Sequence[Any], *, is_last: bool) -> None:
        pack = encoder_of(self._method.feeds)
        self._send(Feed(self._number, [msgspec.Raw(pack(item)) for item in items], is_last))
