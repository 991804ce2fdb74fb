"""A call in the eyes of the child: its credit, what it is fed, and whether its caller has left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from llamacli.backend.child.wire.frames import Items, Want
from llamacli.backend.child.wire.method import Method, decoder_of, encoder_of
from llamacli.backend.child.work.outbox import Outbox
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import CancelledError

_NO_ITEM: Final = object()


class Task:
    """A running call. `cancel` ends its work; `descriptors` came with it, and belong to whoever takes them.

    `is_waiting` is True while it waits for the parent. `running` returns the calls that run or are about to, the
    names of their methods by number; later calls have higher numbers.
    """

    def __init__(
        self,
        number: int,
        method: Method,
        outbox: Outbox,
        credit: int,
        descriptors: Sequence[int],
        running: Callable[[], Mapping[int, str]],
    ) -> None:
        self.id = number
        self.method = method.name
        self.running = running
        self.cancel = Canceller()
        self.descriptors = list(descriptors)
        self._method, self._outbox, self._emit = method, outbox, outbox.put
        self._changed = threading.Condition()
        self._credit = credit
        self._fed: deque[msgspec.Raw] = deque()
        self._is_last = False
        self.is_waiting = False
        self._flush = _do_nothing

    # --- from the receiving thread --------------------------------------------------------------------------------------

    def grant(self, credit: int) -> None:
        """Allow more items."""
        with self._changed:
            self._credit += credit
            self._changed.notify_all()

    def feed(self, items: Sequence[msgspec.Raw], *, is_last: bool) -> None:
        """Add items that the caller gives."""
        with self._changed:
            self._fed.extend(items)
            self._is_last |= is_last
            self._changed.notify_all()

    def leave(self) -> None:
        """End the work: the caller has left."""
        self.cancel.set()
        with self._changed:
            self._changed.notify_all()

    # --- from the thread that works -------------------------------------------------------------------------------------

    def defer(self) -> Callable[[], None]:
        """Only queue items from now on, and return what sends them, for the work to call before it waits or computes."""
        self._emit, self._flush = self._outbox.add, self._outbox.flush
        return self._flush

    def run(self, items: Iterator[Any]) -> None:
        """Emit items as long as there is credit for them. Raises CancelledError when the caller has left."""
        pack = encoder_of(self._method.items)
        while True:
            if self._credit <= 0 or self.cancel.is_set:
                self._wait(lambda: self._credit > 0)
            item = next(items, _NO_ITEM)
            if item is _NO_ITEM:
                return
            with self._changed:
                self._credit -= 1
            self._emit(Items(self.id, [msgspec.Raw(pack(item))]))

    def emit(self, item: Any) -> None:
        """Emit an item of a call that returns a result; without credit, as the caller takes them at once."""
        self._emit(Items(self.id, [msgspec.Raw(encoder_of(self._method.items)(item))]))

    def ask(self, item: Any) -> Any:
        """Emit an item and return the caller's answer to it."""
        self.emit(item)
        self._wait(lambda: bool(self._fed))
        return self._taken()

    def pause(self, seconds: float) -> None:
        """Do nothing for some seconds, and do not count as hanging meanwhile. Raises CancelledError when the caller leaves."""
        self._wait(lambda: False, seconds)

    def fed(self, counts: Iterator[int]) -> Iterator[Any]:
        """Yield what the caller feeds; the next of `counts` items are wished for whenever none is left."""
        while True:
            with self._changed:
                has_items, is_last = bool(self._fed), self._is_last
            if not has_items:
                if is_last:
                    return
                self._emit(Want(self.id, next(counts)))
                self._wait(lambda: bool(self._fed) or self._is_last)
                continue
            yield self._taken()

    def _taken(self) -> Any:
        with self._changed:
            raw = self._fed.popleft()
        return decoder_of(self._method.feeds)(raw)

    def _wait(self, condition: Callable[[], bool], seconds: float | None = None) -> None:
        self._flush()
        with self._changed:
            self.is_waiting = True
            self._changed.wait_for(lambda: condition() or self.cancel.is_set, seconds)
            self.is_waiting = False
        if self.cancel.is_set:
            raise CancelledError("the caller has left")


def _do_nothing() -> None:
    """Send nothing: another thread does."""
