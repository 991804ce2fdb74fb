"""Passages of an index for questions: the index, and the models that it needs, loaded when they are first used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from llamacli.cli.framework.backends.embedding import open_embedder, open_server
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.index.options import IndexOptions
from llamacli.cli.framework.options import ModelOptions, RemoteOptions
from llamacli.engine.embedding.outcome import Embedded, Outcome
from llamacli.engine.embedding.params import Attention, EmbeddingParams
from llamacli.engine.params import ContextParams, Pooling
from llamacli.errors import UsageError
from llamacli.render.text import escape_line
from llamacli.retrieval.search import Found, Search, SearchMode
from llamacli.store.vectors.index import VectorIndex

if TYPE_CHECKING:
    from llamacli.cli.framework.backends.embedding import Vectorizer
    from llamacli.engine.embedding.vectors import Matrix

_DIMENSIONS = re.compile(r"[1-9]\d{0,8}")


@dataclass(frozen=True, slots=True)
class MadeWith:
    """The model and the options with which the vectors of an index were made; `server` is its address, if one made them."""

    reference: str | None
    server: str
    dims: int
    pooling: Pooling
    attention: Attention


def made_with(index: VectorIndex) -> MadeWith:
    """Return how the vectors of an index were made.

    Raises:
        UsageError: if the index is empty or corrupt.
    """
    if not index.count():
        raise UsageError(f"{index.path} is empty")
    about = index.about()
    dims, pooling, attention = about.get("dimensions", ""), about.get("pooling"), about.get("attention")
    if not _DIMENSIONS.fullmatch(dims) or pooling not in get_args(Pooling) or attention not in get_args(Attention):
        raise UsageError(f"{index.path} is corrupt: the options of its vectors are missing")
    return MadeWith(
        about.get("reference"), about.get("server", ""), int(dims), cast("Pooling", pooling), cast("Attention", attention)
    )


def check_server(index: VectorIndex, remote: RemoteOptions) -> None:
    """Raise UsageError if a server made the vectors and none is named: an index file must not send queries to one by itself."""
    server = index.about().get("server")
    if server and not remote.url:
        raise UsageError(f"{index.path} has vectors that a server made", hint=f"--url {escape_line(server)} uses it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinderModels:
    """How the models of searches are opened, and the parameters of questions. `reranker` is None without one.

    `is_remote`: a server has them, which refuses texts that are too long.
    """

    embedder: Callable[[], AbstractContextManager[Vectorizer]]
    reranker: Callable[[], AbstractContextManager[Vectorizer]] | None
    params: EmbeddingParams
    is_remote: bool = False


class Finder:
    """Finds passages of an open index. Models are loaded when they are first used, and stay until `close`."""

    def __init__(self, index: VectorIndex, models: FinderModels, guard: Callable[[], AbstractContextManager[Any]]) -> None:
        self._index = index
        self._models = models
        self._guard = guard
        self._stack = ExitStack()
        self._embedder: Vectorizer | None = None
        self._reranker: Vectorizer | None = None

    @property
    def path(self) -> Path:
        """The file of the index."""
        return self._index.path

    def count(self) -> int:
        """The texts in the index."""
        return self._index.count()

    def find(self, question: str, count: int, mode: SearchMode, *, rerank: bool = True) -> list[Found]:
        """Return the `count` passages that fit a question best, best first; the reranker, if there is one, can be left out.

        Raises:
            UsageError: if the index cannot be searched for words, or is of another model than the one that is opened.
            LlamacliError: if a model cannot be loaded, or the question has no vector.
        """
        if mode == "words" and not self._index.has_words:
            raise UsageError(f"{self.path} cannot be searched for words", hint="adding a text or a folder makes that possible")
        reranker = self._rerank if rerank and self._models.reranker is not None else None
        return Search(index=self._index, embed_query=self._embed, mode=mode, rerank=reranker).find(question, count)

    def _embed(self, question: str) -> Matrix:
        with self._guard() as guard:
            if self._embedder is None:
                embedder = self._stack.enter_context(self._models.embedder())
                self._index.require({"fingerprint": embedder.fingerprint()})
                self._embedder = embedder
            guard.cancel = self._embedder.cancel
            (outcome,) = self._embedder.embed([question], self._models.params)
        if not isinstance(outcome, Embedded):
            raise outcome.error
        return outcome.vectors

    def _rerank(self, question: str, texts: Sequence[str]) -> list[Outcome]:
        assert self._models.reranker is not None
        with self._guard() as guard:
            if self._reranker is None:
                self._reranker = self._stack.enter_context(self._models.reranker())
            guard.cancel = self._reranker.cancel
            params = EmbeddingParams(overflow="error" if self._models.is_remote else "truncate")
            return list(self._reranker.rerank(question, texts, params))

    def close(self) -> None:
        """Free the models."""
        self._stack.close()


@contextmanager
def open_finder(
    app: AppContext,
    options: IndexOptions,
    model: ModelOptions,
    remote: RemoteOptions,
    *,
    keep_alive: float | None,
    guard: Callable[[], AbstractContextManager[Any]] | None = None,
) -> Iterator[Finder]:
    """Open the index of the options, and close it after the block with the models that it needed.

    The vectors of questions are made as those of the index were: by the server of the command line if one made them, else here,
    by a process that stays for `keep_alive` seconds.

    Raises:
        UsageError: if there is no such index, it is empty, or it needs a server.
    """
    assert options.index is not None
    with VectorIndex(options.index) as index:
        made = made_with(index)
        check_server(index, remote)
        own = replace(model, model=made.reference, lora=())

        def opened(name: str | None, context: ContextParams, *, rank: bool = False) -> AbstractContextManager[Vectorizer]:
            named = replace(own, model=name)
            if made.server:
                return open_server(app, remote, named, rank=rank)
            child = replace(named.child(), keep_alive=keep_alive)
            return open_embedder(app, named, context, attention=None if rank else made.attention, child=child)

        def open_reranker() -> AbstractContextManager[Vectorizer]:
            return opened(options.reranker, ContextParams(pooling="rank"), rank=True)

        models = FinderModels(
            embedder=lambda: opened(made.reference, ContextParams(pooling=made.pooling)),
            reranker=None if options.reranker is None else open_reranker,
            params=EmbeddingParams(dims=made.dims, prefix=options.query_prefix, overflow="error" if made.server else "chunk"),
            is_remote=bool(made.server),
        )
        with closing(Finder(index, models, guard or app.interrupts.guard)) as finder:
            yield finder
