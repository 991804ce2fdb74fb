"""A gate in front of what must not be freed while somebody is inside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from llamacli.errors import ClosedError


class Gate:
    """`with gate:` is being inside, on as many threads at once as want to. `what` is what it is in front of, for errors.

    Raises (on entering):
        ClosedError: `close` was called.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._changed = threading.Condition()
        self._inside: list[int] = []
        self._free: Callable[[], None] | None = None
        self.is_closed = False

    def __enter__(self) -> None:
        with self._changed:
            if self.is_closed:
                raise ClosedError(f"{self._what} is closed")
            self._inside.append(threading.get_ident())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._inside.remove(threading.get_ident())
            free = self._taken()
            self._changed.notify_all()
        if free is not None:
            free()

    def close(self, free: Callable[[], None]) -> None:
        """Lets nobody in any more, waits for those who are inside, and calls `free`, once.

        A thread that is inside itself, in a signal's handler, does not wait: the last who leaves calls `free`.
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
