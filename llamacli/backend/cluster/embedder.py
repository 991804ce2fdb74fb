"""Texts embedded by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from llamacli.backend.cluster import worker
from llamacli.backend.cluster.cluster import Cluster, ClusterUser
from llamacli.backend.cluster.worker import DescribedEmbedder, ModelSpec
from llamacli.engine.embedding.outcome import NotEmbedded, Outcome
from llamacli.engine.embedding.params import Attention, EmbeddingParams
from llamacli.engine.params import Pooling
from llamacli.errors import CancelledError, LlamacliError

if TYPE_CHECKING:
    from llamacli.engine.embedding.window import Text

GROUP = 64
"""Texts that a worker gets at once."""

AHEAD = 64
"""Groups that may be ahead of the first one that has not ended."""


class ClusterEmbedder(ClusterUser):
    """The embedding models of a cluster's workers. Owns the cluster.

    Raises (when built): what loading the model on a worker raises.
    """

    def __init__(self, cluster: Cluster, spec: ModelSpec) -> None:
        self._cluster, self._spec = cluster, spec
        self._described: DescribedEmbedder = cluster.call(worker.describe_embedder, spec)
        self.name, self.dimension, self.width = self._described.name, self._described.dimension, self._described.width
        self.limit, self.notes = self._described.limit, list(self._described.notes)

    @property
    def pooling(self) -> Pooling:
        """How the vectors of tokens become one."""
        return cast("Pooling", self._described.pooling)

    @property
    def attention(self) -> Attention:
        """Whether tokens see those behind them."""
        return cast("Attention", self._described.attention)

    def fingerprint(self) -> str:
        """Return a hash that differs for other weights, adapters or RoPE parameters."""
        return self._described.fingerprint

    def embed(
        self, texts: Iterable[Text], params: EmbeddingParams | None = None, *, on_done: Callable[[int], None] | None = None
    ) -> Iterator[Outcome]:
        """Yield the outcomes of the texts, in order. Raises CancelledError if somebody has ended it."""
        return self._outcomes(texts, params or EmbeddingParams(), None, on_done)

    def rerank(
        self, query: str, texts: Iterable[Text], params: EmbeddingParams, *, on_done: Callable[[int], None] | None = None
    ) -> Iterator[Outcome]:
        """Yield outcomes with rows that score how well each text answers `query`, in order. Raises as `embed`."""
        return self._outcomes(texts, params, query, on_done)

    def _outcomes(
        self, texts: Iterable[Text], params: EmbeddingParams, query: str | None, on_done: Callable[[int], None] | None
    ) -> Iterator[Outcome]:
        ended: dict[int, Outcome] = {}
        due = 0

        def numbered() -> Iterator[tuple[int, Text] | None]:
            for number, text in enumerate(texts):
                while number - due >= AHEAD * GROUP:
                    yield None
                yield number, text

        stream = self._cluster.stream(
            worker.embed, numbered(), GROUP, lambda items: (self._spec, [text for _, text in items], params, query)
        )
        for group, found in stream:
            for place, (number, _) in enumerate(group.items):
                is_error = isinstance(found, LlamacliError)
                ended[number] = NotEmbedded(number, found) if is_error else replace(found[place], index=number)
            while due in ended:
                yield ended.pop(due)
                due += 1
            if on_done is not None:
                on_done(due)
        if self._cluster.is_cancelled():
            raise CancelledError("cancelled")
