"""The model, loaded on a thread while the user types."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from llamacli.errors import CancelledError
from llamacli.render.progress import NoProgress

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend

_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 0.5
_NEEDED_LATER = "llamacli.render.chat.markdown"


class Loader:
    """Loads an engine. `share` is the progress (0 to 1), `engine` the result, `error` the reason for its absence.

    On the loading thread, `on_change` is called at every change, and `then` with the engine before `wait` returns it.
    """

    def __init__(
        self,
        load: Callable[[Callable[[float], None]], Backend],
        on_change: Callable[[], None],
        then: Callable[[Backend], None] = lambda engine: None,
    ) -> None:
        self._load = load
        self._on_change = on_change
        self._then = then
        self._done = threading.Event()
        self._abandoned = False
        self.share = 0.0
        self.engine: Backend | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)

    def start(self) -> None:
        """Start loading."""
        self._thread.start()

    def wait(self, progress: NoProgress) -> Backend:
        """Return the engine when it is loaded.

        Raises:
            LlamacliError: if the model cannot be loaded.
        """
        while not self._done.wait(_POLL_SECONDS):
            if self.share:
                progress.update("loading the model", self.share, 1.0)
            else:
                progress.update("waiting for the model", 0, None)  # perhaps of a server
        if self.engine is None:
            raise self.error or CancelledError("cancelled")
        return self.engine

    def successor(self, load: Callable[[Callable[[float], None]], Backend] | None = None) -> Loader:
        """Return a loader that replaces this one, for another model or for the same one again."""
        return Loader(load or self._load, self._on_change, self._then)

    def close(self) -> None:
        """Stop loading, and free the loaded engine."""
        self._abandoned = True
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_SECONDS)
        if self.engine is not None:
            self.engine.close()

    def _run(self) -> None:
        try:
            engine = self._load(self._on_progress)
            self._then(engine)
            self.engine = engine
        except Exception as error:  # noqa: BLE001 - `wait` raises it again
            self.error = error
        self._done.set()
        self._on_change()
        importlib.import_module(_NEEDED_LATER)  # now, so that the first answer does not wait for it

    def _on_progress(self, share: float) -> None:
        if self._abandoned:
            raise CancelledError("cancelled")
        self.share = share
        self._on_change()
