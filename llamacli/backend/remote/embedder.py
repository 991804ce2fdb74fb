"""An embedding or reranking model behind an address, with the interface of the one in a child process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llamacli.backend.remote import vectors
from llamacli.backend.remote.client import Client
from llamacli.backend.remote.pool import Pool, find_endpoints
from llamacli.engine.embedding.outcome import Outcome
from llamacli.engine.embedding.params import Attention, EmbeddingParams
from llamacli.engine.params import Pooling
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.window import Text


class RemoteEmbedder:
    """The model `wanted` (None: the only or the first one) of servers that share the texts. Owns the clients.

    `rank`: it scores texts. Else one short text is embedded by each, which shows the length of the vectors.

    Raises (when built): what `find_endpoints` raises; UsageError if a server does not embed, or makes vectors of another length
    than the first; RemoteError if it fails.
    """

    def __init__(self, clients: Sequence[Client], wanted: str | None, *, rank: bool = False) -> None:
        self._clients = clients
        self._pool = Pool(find_endpoints(clients, wanted))
        self._info = self._pool.endpoints[0].info
        self.pooling: Pooling = "rank" if rank else "mean"
        self.dimension = 1 if rank else self._length()

    def _length(self) -> int:
        lengths = {str(endpoint.client): vectors.length_of(endpoint) for endpoint in self._pool.endpoints}
        (first, length), *others = lengths.items()
        for server, other in others:
            if other != length:
                raise UsageError(
                    f"{server} makes vectors of {other} numbers, {first} of {length}",
                    hint="the servers must have the same model",
                )
        return length

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
        self._begin()
        return vectors.embed(self._pool, texts, params, is_cancelled=self._is_cancelled, on_done=on_done or _ignore)

    def rerank(
        self, query: str, texts: Iterable[Text], params: EmbeddingParams, *, on_done: Callable[[int], None] | None = None
    ) -> Iterator[Outcome]:
        """Return outcomes with rows that score how well each text answers `query`. Raises as `vectors.rerank`."""
        self._begin()
        return vectors.rerank(self._pool, query, texts, params, is_cancelled=self._is_cancelled, on_done=on_done or _ignore)

    def _begin(self) -> None:
        for client in self._clients:
            client.begin()

    def _is_cancelled(self) -> bool:
        return any(client.is_cancelled() for client in self._clients)

    def cancel(self) -> None:
        """End running work at once. Safe from any thread."""
        for client in self._clients:
            client.cancel()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _ignore(count: int) -> None:
    """Take no notice of progress."""
