"""Threads that work on calls, each of which takes its next call from a queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Workers:
    """Threads for up to `most` calls at once; more wait. A thread is started when all are busy, and stays.

    An executor of the standard library does more for each call, and with cold caches a call waits for that.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._calls = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Let a thread do `work`, which raises nothing."""
        with self._lock:
            self._calls += 1
            starts = self._threads < min(self._calls, self._most)
            self._threads += starts
        if starts:
            threading.Thread(target=self._serve, name=f"call-{self._threads}", daemon=True).start()
        self._queue.put(work)

    def _serve(self) -> None:
        while True:
            self._queue.get()()
            with self._lock:
                self._calls -= 1
