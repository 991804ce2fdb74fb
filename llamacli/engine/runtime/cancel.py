"""Cancellation, from any thread, of work that is inside C."""

from __future__ import annotations

from llamacli.binding.library import address_of, declarations, library
from llamacli.errors import CancelledError

_ABORT_CALLBACK = declarations.type("ggml_abort_callback")
_PROGRESS_CALLBACK = declarations.type("llama_progress_callback")


class CancelFlag:
    """An atomic flag that loading and evaluation poll in C: a Python callback would take the interpreter lock in every thread.

    A model and its contexts share it. It lives as long as the process, because C may poll it until the last of them is closed.
    """

    def __init__(self) -> None:
        self._library = library()
        self.handle = self._library.llamacli_abort_new()
        self.address = address_of(self.handle)
        self.abort_callback = _ABORT_CALLBACK(address_of(self._library.llamacli_abort_callback))
        self.progress_callback = _PROGRESS_CALLBACK(address_of(self._library.llamacli_progress_callback))

    def set(self) -> None:
        """Cancel the running work. Safe from any thread."""
        self._library.llamacli_abort_set(self.handle, True)

    def clear(self) -> None:
        """Let work continue."""
        self._library.llamacli_abort_set(self.handle, False)

    @property
    def is_set(self) -> bool:
        """True if the work was cancelled."""
        return bool(self._library.llamacli_abort_get(self.handle))

    @property
    def progress(self) -> float:
        """The fraction of the model that is loaded, from 0 to 1."""
        return float(self._library.llamacli_abort_progress(self.handle))

    def check(self) -> None:
        """Raise CancelledError if the work was cancelled."""
        if self.is_set:
            raise CancelledError("cancelled")
