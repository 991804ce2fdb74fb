"""Evaluated states beside the saved conversations: one file a session, limited in size, the one that was written first to go.

What is in them is the engine's business. They can be made again, so whatever is wrong with them is no error.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

LARGEST = 1 << 30
"""Bytes of one state at most."""

LARGEST_SUM = 4 << 30
"""Bytes of all states at most."""

_ENDING = ".state"
_ABANDONED_SECONDS = 3600
"""A file that is written for so long was left by a program that was killed."""


class SessionStates:
    """The states in the folder of the sessions. `largest` and `largest_sum` are in bytes."""

    def __init__(self, folder: Path, *, largest: int = LARGEST, largest_sum: int = LARGEST_SUM) -> None:
        self._folder = folder
        self._largest = largest
        self._largest_sum = largest_sum

    def path(self, session: int) -> Path:
        """Where the state of a session is, or would be."""
        return self._folder / f"{session}{_ENDING}"

    def admits(self, size: int) -> bool:
        """Whether a state of so many bytes may be written: it is within the limits, and leaves as much of the disk free."""
        with contextlib.suppress(OSError):
            return size <= min(self._largest, self._largest_sum) and shutil.disk_usage(self._folder).free > 2 * size
        return False

    def make_room(self, kept: int) -> None:
        """Removes what was abandoned, and the oldest states until all are within the limit. That of session `kept` stays."""
        with contextlib.suppress(OSError):
            for part in self._folder.glob(f".*{_ENDING}.*"):
                if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                    part.unlink(missing_ok=True)
            files = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in self._folder.glob(f"*{_ENDING}"))
            total = sum(size for _, size, _ in files)
            for _, size, file in files:
                if total <= self._largest_sum:
                    return
                if file != self.path(kept):
                    file.unlink(missing_ok=True)
                    total -= size

    def remove(self, session: int) -> None:
        """Removes the state of a session, if there is one."""
        with contextlib.suppress(OSError):
            self.path(session).unlink(missing_ok=True)
