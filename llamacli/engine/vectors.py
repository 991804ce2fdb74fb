"""The part of an engine that makes vectors, in a context of its own which is made when it is first needed."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from llamacli.engine.evaluated_state import EvaluatedState
from llamacli.engine.generation.contexts import Contexts
from llamacli.engine.params import Pooling
from llamacli.engine.runtime.model import Model

if TYPE_CHECKING:
    from llamacli.engine.embedding.embedder import Embedder
    from llamacli.engine.embedding.outcome import Outcome
    from llamacli.engine.embedding.params import Attention, EmbeddingParams
    from llamacli.engine.embedding.window import Text
    from llamacli.engine.media.encoder import MediaEncoder


class Vectors(EvaluatedState):
    """Maker of vectors and scores of texts. A base of `Engine`, which frees it."""

    def __init__(self, model: Model, contexts: Contexts, encoder: MediaEncoder | None = None) -> None:
        super().__init__(model, contexts, encoder)
        self._embedding = threading.Lock()
        self._embedder: Embedder | None = None

    def embedder(self, pooling: Pooling | None = None, attention: Attention | None = None) -> Embedder:
        """Return what makes vectors with this model, in its own context; made at the first call, with these parameters.

        Raises: what `Embedder` raises.
        """
        with self._embedding:
            self.contexts.require_open()
            if self._embedder is None:
                from llamacli.engine.embedding.embedder import Embedder  # and numpy, which only vectors need

                params = dataclasses.replace(self.contexts.params, n_ctx=None, n_seq_max=1, pooling=pooling)
                self._embedder = Embedder(self.model.path, self.model.params, params, attention=attention)
            return self._embedder

    def embed(self, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the vectors of each text, in order: float32, (rows, dimension). Raises as `Embedder.embed`."""
        return self.embedder().embed(texts, params)

    def rerank(self, query: str, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the scores of each text as an answer to `query`, in order. Raises as `Embedder.rerank`."""
        from llamacli.engine.embedding.params import EmbeddingParams

        return self.embedder().rerank(query, texts, params or EmbeddingParams())

    def close_embedder(self) -> None:
        """End what makes vectors, and free it."""
        embedder, self._embedder = self._embedder, None
        if embedder is not None:
            embedder.cancel()
            embedder.close()
