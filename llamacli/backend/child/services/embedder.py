"""The embedding model of a child."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from pathlib import Path

from llamacli.backend.child import embedder as contract
from llamacli.backend.child import vectors
from llamacli.backend.child.embedder import OpenedEmbedder, OpenEmbedder
from llamacli.backend.child.services.vectors import embed_fed
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.task import Task
from llamacli.binding.library import library
from llamacli.engine.embedding.embedder import Embedder
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.errors import EngineError


def service() -> dict[Method, Handler]:
    """Return the handlers, with the native library and NumPy loaded."""
    library()
    importlib.import_module("llamacli.engine.embedding.workers")
    return EmbedderService().handlers()


class EmbedderService:
    """The handlers of one embedding model, which `OPEN` makes."""

    def __init__(self) -> None:
        self._flag = CancelFlag()
        self._embedder: Embedder | None = None

    def handlers(self) -> dict[Method, Handler]:
        """Return the handlers by method."""
        return {
            contract.OPEN: self._open,
            contract.FINGERPRINT: lambda _, task: self.embedder.fingerprint(),
            contract.CANCEL: lambda _, task: self._flag.set(),
            vectors.EMBED: self._embed,
        }

    @property
    def embedder(self) -> Embedder:
        """The model. Raises EngineError before it is opened."""
        if self._embedder is None:
            raise EngineError("no model is open in the engine's process")
        return self._embedder

    def _open(self, asked: OpenEmbedder, task: Task) -> OpenedEmbedder:
        if self._embedder is None:  # a resident has it open already, with the same arguments
            self._embedder = self._loaded(asked, task)
        found = self._embedder
        return OpenedEmbedder(
            found.name, found.pooling, found.attention, found.limit, found.dimension, found.width, tuple(found.notes)
        )

    def _loaded(self, asked: OpenEmbedder, task: Task) -> Embedder:
        task.cancel.then(self._flag.set)
        return Embedder(
            Path(asked.path),
            asked.model,
            asked.context,
            attention=asked.attention,
            budget=asked.budget,
            cancel=self._flag,
            on_load=task.emit,
        )

    def _embed(self, asked: vectors.VectorRequest, task: Task) -> Generator[object, None, None]:
        self._flag.clear()  # of an earlier call that was cancelled
        return embed_fed(self.embedder, asked, task)
