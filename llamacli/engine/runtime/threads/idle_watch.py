"""Whether other programs have ended: processors become idle then, and more threads may pay."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from llamacli.engine.runtime import hardware

_SECONDS = 0.25
"""Between two looks, which read a file of the system."""

_PAUSE = 4 * _SECONDS
"""Seconds without a look in which nothing was computed: what was idle then says nothing."""

_FREED = 0.5
"""Processors that must have become idle for a sign that others have ended."""


class IdleWatch:
    """Idle processors while a number of our threads compute. `idle_seconds` returns the sum of all processors."""

    def __init__(self, idle_seconds: Callable[[], float | None] = hardware.idle_seconds) -> None:
        self._idle_seconds = idle_seconds
        self._threads = 0
        self._looked = -math.inf
        self._idle: float | None = None
        self._before: deque[float] = deque(maxlen=2)

    def sees_freed(self, threads: int, now: float) -> bool:
        """Return whether more processors are idle than before, with as many threads of ours. `now` is in seconds."""
        is_same = threads == self._threads and now - self._looked <= _PAUSE
        if is_same and now - self._looked < _SECONDS:
            return False
        known, idle, seconds = self._idle, self._idle_seconds(), now - self._looked
        self._threads, self._looked, self._idle = threads, now, idle
        if not is_same or known is None or idle is None:
            self._before.clear()
            return False
        processors = (idle - known) / seconds
        has_grown = processors >= min(self._before, default=math.inf) + _FREED
        self._before.append(processors)
        return has_grown
