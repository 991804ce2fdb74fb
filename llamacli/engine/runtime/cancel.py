"""Cancelling work that is inside C, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from llamacli.binding.library import address_of, declarations, library
from llamacli.errors import CancelledError

_ABORT_CALLBACK = declarations.type("ggml_abort_callback")
_PROGRESS_CALLBACK = declarations.type("llama_progress_callback")


class CancelFlag:
    """An atomic flag that loading and evaluation look at, in C: a Python callback would take the interpreter's lock in every
    thread.

    Shared by a model and its contexts; lives as long as the process, as C may look at it until the last of them is closed.
    """

    def __init__(self) -> None:
        self._library = library()
        self.handle = self._library.llamacli_abort_new()
        self.address = address_of(self.handle)
        self.abort_callback = _ABORT_CALLBACK(address_of(self._library.llamacli_abort_callback))
        self.progress_callback = _PROGRESS_CALLBACK(address_of(self._library.llamacli_progress_callback))

    def set(self) -> None:
        """Cancels what runs. Safe from any thread."""
        self._library.llamacli_abort_set(self.handle, True)

    def clear(self) -> None:
        """Lets work go on."""
        self._library.llamacli_abort_set(self.handle, False)

    @property
    def is_set(self) -> bool:
        """Whether somebody cancelled."""
        return bool(self._library.llamacli_abort_get(self.handle))

    @property
    def progress(self) -> float:
        """How much of the model is loaded, from 0 to 1."""
        return float(self._library.llamacli_abort_progress(self.handle))

    def check(self) -> None:
        """Raises CancelledError if somebody cancelled."""
        if self.is_set:
            raise CancelledError("cancelled")


class Canceller:
    """Ends one call from another thread, whatever it is doing, also before it has begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        self.is_set = False

    def set(self) -> None:
        """Ends the call."""
        with self._lock:
            self.is_set = True
            actions, self._actions = self._actions, []
        for action in actions:
            action()

    def then(self, action: Callable[[], None]) -> None:
        """Has `action` called by `set`, or now if that was called already."""
        with self._lock:
            if not self.is_set:
                self._actions.append(action)
                return
        action()
