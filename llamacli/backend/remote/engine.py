"""A model behind an address, with the interface of the engine in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from llamacli.backend.remote import vectors
from llamacli.backend.remote.client import Client, RefusedError
from llamacli.backend.remote.dispatch import Progress
from llamacli.backend.remote.exchange import OnLack, Order, exchange
from llamacli.backend.remote.fields import FieldMemory
from llamacli.backend.remote.pool import Endpoint, Pool, find_endpoints
from llamacli.backend.remote.prompting import RemotePrompting
from llamacli.backend.remote.rows import Rows
from llamacli.backend.remote.transport import Response
from llamacli.backend.remote.turn import RemoteTurn
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import AnswerEvent
from llamacli.engine.generation.job import Job
from llamacli.engine.generation.room import Room
from llamacli.engine.params import GenerationParams
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import RemoteError

if TYPE_CHECKING:
    from llamacli.engine.embedding.outcome import Outcome
    from llamacli.engine.embedding.params import EmbeddingParams
    from llamacli.engine.embedding.window import Text


class RemoteEngine(RemotePrompting):
    """The model `wanted` (None: the only or the first one) of one server or of several. Owns the clients. A context manager.

    `on_lack` is called with each parameter that a server cannot use, once, before the request; it may raise. `memory` keeps
    what the servers are found to refuse, by default as long as the process.

    Raises (when built): UsageError, ModelNotFoundError, RemoteError; see `learn`. Of several servers one has to be there.
    """

    def __init__(
        self, clients: Sequence[Client], wanted: str | None, on_lack: OnLack, memory: FieldMemory | None = None
    ) -> None:
        self._clients = clients
        self._on_lack = on_lack
        self._told: set[str] = set()
        self._telling = threading.Lock()
        started = time.perf_counter()
        self._pool = Pool(find_endpoints(clients, wanted, memory))
        self.load_ms = (time.perf_counter() - started) * 1e3
        self._first = self._pool.endpoints[0]

    # --- answers --------------------------------------------------------------------------------------------------------

    def answer(
        self,
        turn: Turn,
        params: GenerationParams | None = None,
        *,
        samples: int = 1,
        started: Sequence[int] = (),
        closes_gap: bool = False,
        make_room: Callable[[int], Room | None] | None = None,
        cancel: Canceller | None = None,
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the events of the answer to a turn of this engine. A warning about what the server cannot do comes first.

        Before something of the answer has come, another server of the pool takes over from one that fails.

        Raises:
            UsageError: if the turn is not of this engine, or the answer is begun, or the server refuses the request.
            RemoteError: if the server cannot be reached, fails, or breaks off.
        """
        if started or not isinstance(turn, RemoteTurn):
            self._refuse("cannot continue an answer")
        call = _Call(self._clients, cancel)
        order = Order(
            turn=turn,
            params=params or GenerationParams(),
            on_lack=self._lack,
            is_cancelled=call.is_cancelled,
            on_open=call.opened,
            indexes=range(samples),
        )
        tried: list[Endpoint] = []
        while (endpoint := self._pool.choose(tried)) is not None:
            progress = Progress()
            tried.append(endpoint)
            try:
                yield from exchange(endpoint, order, progress)
            except RefusedError as refused:
                error = endpoint.client.error(refused)
                if not isinstance(error, RemoteError) or len(tried) == len(self._pool.endpoints):
                    raise error from refused
            except RemoteError:
                if progress.has_begun or len(tried) == len(self._pool.endpoints):
                    raise
            else:
                return

    def answer_many(
        self, jobs: Iterator[Job | None], *, parallel: int | Literal["auto"] | None = None, cancel: Canceller | None = None
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the events of many answers side by side, each with its job's number.

        As many are asked for at once as the servers say, or `parallel` of them; fewer when a server is busy. A job whose server
        fails is asked again, of another server if there is one.

        Raises:
            RemoteError: if no server can be reached any more.
        """
        most = parallel if isinstance(parallel, int) else None
        self._pool.set_parallel(most)
        call = _Call(self._clients, cancel)
        rows = Rows(self._pool, most=most, on_lack=self._lack, is_cancelled=call.is_cancelled, on_open=call.opened)
        return rows.stream(jobs)

    def embed(self, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the vectors of each text, in order. Raises UsageError for what a server cannot do."""
        return vectors.embed(self._pool, texts, params, is_cancelled=_Call(self._clients, None).is_cancelled)

    def rerank(self, query: str, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the scores of each text as an answer to `query`, in order. Raises UsageError for what a server cannot do."""
        return vectors.rerank(self._pool, query, texts, params, is_cancelled=_Call(self._clients, None).is_cancelled)

    # --- state ----------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> Self:
        """The evaluated state, of which there is none here."""
        return self

    @property
    def cached_tokens(self) -> int:
        """0: what is evaluated is kept by the server."""
        return 0

    @property
    def state_bytes(self) -> int:
        """0: there is nothing to save."""
        return 0

    def keep_prefixes(self, capacity: int) -> None:
        """Do nothing: the server decides what it keeps."""

    def save_state(self, path: Path) -> int:
        """Raise UsageError: what the server has evaluated stays there."""
        self._refuse("does not hand out its state")

    def load_state(self, path: Path) -> int:
        """Raise UsageError: a server takes no state."""
        self._refuse("takes no saved state")

    # --- the end --------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End what runs, from any thread: its answers end with finish reason "cancelled"."""
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


class _Call:
    """One call of `answer` or `answer_many`, which the engine's `cancel` or a canceller ends."""

    def __init__(self, clients: Sequence[Client], cancel: Canceller | None) -> None:
        self._clients = clients
        self._cancel = cancel
        for client in clients:
            client.begin()

    def is_cancelled(self) -> bool:
        """Return whether the call was ended."""
        return (self._cancel is not None and self._cancel.is_set) or any(client.is_cancelled() for client in self._clients)

    def opened(self, endpoint: Endpoint, response: Response) -> None:
        """End this response when the canceller is set."""
        if self._cancel is not None:
            self._cancel.then(lambda: endpoint.client.abort(response))
