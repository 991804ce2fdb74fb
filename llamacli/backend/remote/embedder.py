"""An embedding or reranking model behind an address, with the interface of the one in a child process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llamacli.backend.remote import vectors
from llamacli.backend.remote.client import Client
from llamacli.backend.remote.server import learn
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded, Outcome
from llamacli.engine.embedding.params import Attention, EmbeddingParams
from llamacli.engine.params import Pooling

if TYPE_CHECKING:
    from llamacli.engine.embedding.window import Text

_PROBE = "dimension"


class RemoteEmbedder:
    """The model `wanted` (None: the only or the first one) of a server. Owns the client. A context manager.

    `rank`: it scores texts. Else one short text is embedded, which shows the length of its vectors.

    Raises (when built): what `learn` raises; UsageError if the server does not embed; RemoteError if it fails.
    """

    def __init__(self, client: Client, wanted: str | None, *, rank: bool = False) -> None:
        self._client = client
        self._info = learn(client, wanted)
        self.pooling: Pooling = "rank" if rank else "mean"
        self.dimension = 1 if rank else self._length()

    def _length(self) -> int:
        (outcome,) = vectors.embed(self._client, self._info.model, [_PROBE], EmbeddingParams(normalize="none"))
        if isinstance(outcome, NotEmbedded):
            raise outcome.error
        assert isinstance(outcome, Embedded)
        return int(outcome.vectors.shape[1])

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self._info.model

    @property
    def attention(self) -> Attention:
        """What embedding models have; the server does not tell."""
        return "non-causal"

    @property
    def limit(self) -> int:
        """Tokens of the longest text, 0 if the server does not tell."""
        return self._info.n_ctx or 0

    @property
    def width(self) -> int:
        """Numbers in a row of an outcome."""
        return self.dimension

    def fingerprint(self) -> str:
        """Return a hash that differs for other models by name and dimension: the server tells no more."""
        return hashlib.sha256(f"{self.name} {self.dimension}".encode()).hexdigest()

    def embed(
        self, texts: Iterable[Text], params: EmbeddingParams | None = None, *, on_done: Callable[[int], None] | None = None
    ) -> Iterator[Outcome]:
        """Return the outcomes of the texts, in order. Raises as `vectors.embed`."""
        self._client.begin()
        return vectors.embed(self._client, self.name, texts, params, on_done or _ignore)

    def rerank(
        self, query: str, texts: Iterable[Text], params: EmbeddingParams, *, on_done: Callable[[int], None] | None = None
    ) -> Iterator[Outcome]:
        """Return outcomes with rows that score how well each text answers `query`. Raises as `vectors.rerank`."""
        self._client.begin()
        return vectors.rerank(self._client, self.name, query, texts, params, on_done or _ignore)

    def cancel(self) -> None:
        """End running work at once. Safe from any thread."""
        self._client.cancel()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _ignore(count: int) -> None:
    """Take no notice of progress."""
