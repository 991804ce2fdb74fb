"""Cancellation of one call, whichever process computes it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from llamacli.errors import CancelledError


class Canceller:
    """Ends one call from another thread, even before it has started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        self.is_set = False

    def set(self) -> None:
        """End the call."""
        with self._lock:
            self.is_set = True
            actions, self._actions = self._actions, []
        for action in actions:
            action()

    def check(self) -> None:
        """Raise CancelledError if the call was ended."""
        if self.is_set:
            raise CancelledError("cancelled")

    def then(self, action: Callable[[], None]) -> None:
        """Run `action` when `set` is called, or now if it already was."""
        with self._lock:
            if not self.is_set:
                self._actions.append(action)
                return
        action()
