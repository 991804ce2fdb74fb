"""The next items of an iterator are made on another thread while the last ones are worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.05


class _End:
    """Nothing more comes: all is read, or `error` ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Producer(Generic[T]):
    """The other thread."""

    def __init__(self, items: Iterable[T], room: int) -> None:
        self._items = items
        self.ready: queue.Queue[T | _End] = queue.Queue(room)
        self.stopped = threading.Event()

    def run(self) -> None:
        end = _End(None)
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer's thread
            end = _End(error)
        self._put(end)

    def _put(self, item: T | _End) -> bool:
        """Waits for room. False if nobody wants it any more."""
        while not self.stopped.is_set():
            try:
                self.ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def ahead(items: Iterable[T], check: Callable[[], None], *, room: int = 1) -> Generator[T | None, None, None]:
    """The items, of which `room` are ready beforehand, and None whenever none has come for a while: time for other work.

    `check` is called while waiting, and may raise to end that.

    The thread is a daemon: it may be reading from a pipe into which nobody writes.
    """
    producer = _Producer(items, room)
    threading.Thread(target=producer.run, name="llamacli-ahead", daemon=True).start()
    try:
        while True:
            try:
                item = producer.ready.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                check()
                yield None
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        producer.stopped.set()
