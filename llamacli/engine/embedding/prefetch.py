"""Reading ahead: a thread produces the next items of an iterator while the caller works on the last ones."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.05


class _End:
    """The end of the items. `error` is the exception that ended them, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Producer(Generic[T]):
    """The thread's work: move items to the `ready` queue until they end or `stopped` is set."""

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
        """Wait for room in the queue. Return False if the consumer has stopped."""
        while not self.stopped.is_set():
            try:
                self.ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def prefetch(items: Iterable[T], check: Callable[[], None], *, room: int = 1) -> Generator[T | None, None, None]:
    """Yield the items while a thread reads up to `room` of them ahead, and None when none arrives for a while.

    The caller can do other work after a None. `check` is called while waiting and may raise to end the wait. An exception of
    the items is raised here. The thread is a daemon, because it may be blocked on a pipe that stays silent.
    """
    producer = _Producer(items, room)
    threading.Thread(target=producer.run, name="llamacli-prefetch", daemon=True).start()
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
