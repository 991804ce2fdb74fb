"""A gate that delays freeing a C object until no thread uses it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from llamacli.errors import ClosedError


class Gate:
    """Any number of threads can be inside `with gate:` at once. `subject` names the guarded object in errors.

    Raises (on entering):
        ClosedError: if `close` was called.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._changed = threading.Condition()
        self._inside: list[int] = []
        self._free: Callable[[], None] | None = None
        self.is_closed = False

    def __enter__(self) -> None:
        with self._changed:
            if self.is_closed:
                raise ClosedError(f"{self._subject} is closed")
            self._inside.append(threading.get_ident())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._inside.remove(threading.get_ident())
            free = self._taken()
            self._changed.notify_all()
        if free is not None:
            free()

    def close(self, free: Callable[[], None]) -> None:
        """Admit no more threads, wait until all have left, and call `free` once.

        A thread that is itself inside, in a signal handler, does not wait: the last thread to leave calls `free`.
        """
        with self._changed:
            if not self.is_closed:
                self.is_closed, self._free = True, free
            if threading.get_ident() not in self._inside:
                self._changed.wait_for(lambda: not self._inside)
            taken = self._taken()
        if taken is not None:
            taken()

    def _taken(self) -> Callable[[], None] | None:
        free = None
        if self.is_closed and not self._inside:
            free, self._free = self._free, None
        return free
