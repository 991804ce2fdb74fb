"""Saved KV states of chat sessions: one file per session, limited in size, the oldest evicted first.

Their content belongs to the engine. They can be regenerated, so problems with them are not errors.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

MAX_STATE_BYTES = 1 << 30
MAX_TOTAL_BYTES = 4 << 30

_SUFFIX = ".state"
_ABANDONED_SECONDS = 3600
"""The age in seconds at which an unfinished file counts as the leftover of a killed process."""


class SessionStates:
    """The states in the folder of the sessions. The limits are in bytes."""

    def __init__(self, folder: Path, *, max_state_bytes: int = MAX_STATE_BYTES, max_total_bytes: int = MAX_TOTAL_BYTES) -> None:
        self.folder = folder
        self._max_state_bytes = max_state_bytes
        self._max_total_bytes = max_total_bytes

    def path(self, session: int) -> Path:
        """The path of a session's state, which may not exist."""
        return self.folder / f"{session}{_SUFFIX}"

    def admits(self, size: int) -> bool:
        """Return whether a state of `size` bytes is within the limits and leaves at least its size free on the disk."""
        with contextlib.suppress(OSError):
            limit = min(self._max_state_bytes, self._max_total_bytes)
            return size <= limit and shutil.disk_usage(self.folder).free > 2 * size
        return False

    def make_room(self, kept: int) -> None:
        """Remove abandoned files, and the oldest states until the total is within the limit, except that of session `kept`."""
        with contextlib.suppress(OSError):
            for part in self.folder.glob(f".*{_SUFFIX}.*"):
                if time.time() - part.stat().st_mtime > _ABANDONED_SECONDS:
                    part.unlink(missing_ok=True)
            files = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in self.folder.glob(f"*{_SUFFIX}"))
            total = sum(size for _, size, _ in files)
            for _, size, file in files:
                if total <= self._max_total_bytes:
                    return
                if file != self.path(kept):
                    file.unlink(missing_ok=True)
                    total -= size

    def remove(self, session: int) -> None:
        """Remove the state of a session if it exists."""
        with contextlib.suppress(OSError):
            self.path(session).unlink(missing_ok=True)
