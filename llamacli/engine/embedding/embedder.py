"""Vectors from texts: a model, its contexts, and the pipeline from texts to outcomes in the order of the texts."""

from __future__ import annotations

import importlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llamacli.binding.library import library
from llamacli.engine.embedding.chunking import Frame, check_room, cut, frame_of, pair_frame
from llamacli.engine.embedding.defaults import best_budget, choose_attention, choose_limit, choose_pooling
from llamacli.engine.embedding.fingerprint import fingerprint_of
from llamacli.engine.embedding.outcome import Outcome
from llamacli.engine.embedding.packing import pack
from llamacli.engine.embedding.params import Attention, EmbeddingParams
from llamacli.engine.embedding.prefetch import prefetch
from llamacli.engine.embedding.window import WINDOW_TOKENS, Split, Text, Window, windows
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.runtime.model import Model
from llamacli.errors import CancelledError, LlamacliError, ModelUnsupportedError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.workers import Work

logger = logging.getLogger("llamacli.engine")


class Embedder:
    """An embedding model. A context manager; `close()` frees everything and can be called twice.

    `context.pooling` None selects the model's own pooling, or the mean if it has none. `context.n_ctx` is the longest text in
    tokens (None or 0: as trained). `budget` is the number of tokens in one batch, unless a single text has more; None selects
    `defaults.best_budget`, and `context.n_batch` and `n_ubatch` are ignored. `attention` None selects the model's own.

    Raises:
        ModelError: as `Model` raises it, or if the model does not support embeddings or the requested pooling.
    """

    def __init__(
        self,
        path: Path,
        model: ModelParams | None = None,
        context: ContextParams | None = None,
        *,
        attention: Attention | None = None,
        budget: int | None = None,
        cancel: CancelFlag | None = None,
        on_load: Callable[[float], None] | None = None,
    ) -> None:
        self.model = _load(path, model, cancel, on_load)
        from llamacli.engine.embedding.workers import Workers

        self._vocabulary_lock, self._closed = threading.Lock(), False
        try:
            if self.model.has_encoder and self.model.can_generate:
                raise ModelUnsupportedError(f"{path.name} is an encoder-decoder model, which does not support embeddings")
            self._context = context or ContextParams()
            self.pooling = choose_pooling(self.model, self._context.pooling)
            self.limit = choose_limit(self.model, self._context.n_ctx)
            self.attention = choose_attention(self.model, attention)
            self._frame = frame_of(self.model.vocabulary)
            budget = budget or min(best_budget(self.dimension), max(self.limit, 64))
            causal = None if attention is None else attention == "causal"
            self._workers = Workers(self.model, self._context, pooling=self.pooling, causal=causal, budget=budget)
        except BaseException:
            self.model.close()
            raise
        logger.info(
            "pooling %s, %s attention, at most %d tokens per text, %s, %d tokens per batch",
            self.pooling, self.attention, self.limit, self._describe_frame(), budget,
        )  # fmt: skip

    def _describe_frame(self) -> str:
        piece = self.model.vocabulary.special_piece
        before, after = (
            " ".join(piece(token).decode("utf-8", "replace") for token in tokens) or "nothing"
            for tokens in (self._frame.head, self._frame.tail)
        )
        return f"{before} before and {after} after each"

    @property
    def dimension(self) -> int:
        """Numbers in a vector of the model."""
        return int(library().llama_model_n_embd_out(self.model.handle))

    @property
    def width(self) -> int:
        """Numbers in a row of an outcome: the dimension, or the number of scores of a reranking model."""
        lib = library()
        return int(lib.llama_model_n_cls_out(self.model.handle)) if self.pooling == "rank" else self.dimension

    @property
    def notes(self) -> list[str]:
        """Notes on defaults that the user may not expect."""
        return self.model.notes

    @property
    def name(self) -> str:
        """The model's name by its metadata, or its file's name."""
        return self.model.header.text("general.name") or self.model.path.stem

    def fingerprint(self) -> str:
        """Return a hash that differs for other weights, adapters or RoPE parameters."""
        return fingerprint_of(self.model, self._context)

    def embed(
        self,
        texts: Iterable[Text],
        params: EmbeddingParams | None = None,
        *,
        on_done: Callable[[int], None] | None = None,
        cancel: Canceller | None = None,
    ) -> Iterator[Outcome]:
        """Return the outcomes of the texts, in order. `on_done` receives the number of finished texts from time to time.

        Texts are read ahead on another thread. The error of a text is its outcome; errors of the model are raised. Safe from
        any thread; `cancel` ends this call after the batch that is being evaluated.

        Raises:
            UsageError: if the parameters do not fit the model, or the context leaves no room for text.
            MemoryFullError, DecodeError: if a batch cannot be evaluated.
            CancelledError: if `cancel` is set, or the method of this name is called.
        """
        return _flat(self.batches(texts, params or EmbeddingParams(), on_done=on_done, cancel=cancel))

    def rerank(
        self,
        query: str,
        texts: Iterable[Text],
        params: EmbeddingParams,
        *,
        on_done: Callable[[int], None] | None = None,
        cancel: Canceller | None = None,
    ) -> Iterator[Outcome]:
        """Return outcomes like `embed`, with rows that score how well each text answers `query`.

        Raises:
            ModelUnsupportedError: if the model is not a reranking model.
            UsageError: if the query is empty or leaves no room for a text.
        """
        return _flat(self.batches(texts, params, query=query, on_done=on_done, cancel=cancel))

    def batches(
        self,
        texts: Iterable[Text],
        params: EmbeddingParams,
        *,
        query: str | None = None,
        on_done: Callable[[int], None] | None = None,
        cancel: Canceller | None = None,
    ) -> Generator[Iterator[Outcome], None, None]:
        """Return what `embed` does, or with a query `rerank`, in parts that are ready at once: take each before the next.

        Raises: as `embed` and `rerank`.
        """
        frame = self._frame
        if query is not None:
            if self.pooling != "rank":
                raise ModelUnsupportedError(f"{self.model.path.name} is not a reranking model: its pooling is {self.pooling}")
            if not query.strip():
                raise UsageError("the query is empty")
            frame = pair_frame(self.model, self._frame, query)
        elif params.dims is not None and self.pooling == "rank":
            raise UsageError("dims cannot be used with pooling rank", parameter="dims")
        elif params.dims is not None and params.dims > self.dimension:
            message = f"dims {params.dims} exceeds the {self.dimension} dimensions of the model's vectors"
            raise UsageError(message, parameter="dims")
        check_room(frame, self.limit, params)
        return self._batches(texts, params, frame, on_done, cancel)

    def _batches(
        self,
        texts: Iterable[Text],
        params: EmbeddingParams,
        frame: Frame,
        on_done: Callable[[int], None] | None,
        cancel: Canceller | None,
    ) -> Generator[Iterator[Outcome], None, None]:
        finished = 0

        def report(count: int) -> None:
            nonlocal finished
            finished += count
            if on_done is not None:
                on_done(finished)

        max_tokens = WINDOW_TOKENS if self.pooling != "none" else WINDOW_TOKENS // 8

        def check() -> None:
            self.model.cancel.check()
            if cancel is not None:
                cancel.check()

        ready = windows(texts, self._splitter(params, frame), check, max_tokens=max_tokens)
        started: deque[tuple[Window, Work]] = deque()
        with closing(prefetch(ready, check)) as prefetched:
            try:
                for window in prefetched:
                    if window is not None:
                        batches = pack(window.pieces, budget=self._workers.budget, max_pieces=self._workers.max_pieces)
                        started.append((window, self._workers.start(batches, check)))
                    while len(started) > (window is not None):  # the workers evaluate the next window meanwhile
                        yield self._finish(*started[0], params, report)
                        started.popleft()
                for last in started:
                    yield self._finish(*last, params, report)
            finally:
                for _, work in started:
                    work.abandon()

    def _finish(self, window: Window, work: Work, params: EmbeddingParams, report: Callable[[int], None]) -> Iterator[Outcome]:
        """Yield the outcomes of a window. `report` receives the number of texts that each batch completes."""
        report(len(window.failed))
        for rows in work.rows():
            report(window.receive(rows))
        yield from window.outcomes(self.pooling, params)

    def _splitter(self, params: EmbeddingParams, frame: Frame) -> Split:
        """Return the function from a text to its pieces, for the thread that reads ahead."""

        def split(text: Text) -> tuple[list[list[int]], bool]:
            if isinstance(text, LlamacliError):
                raise text
            if not (text.strip() if isinstance(text, str) else text):
                raise UsageError("the text is empty")
            with self._vocabulary_lock:
                if self._closed:
                    raise CancelledError("the model is closed")
                tokens = self._tokens(text, params)
            return cut(tokens, frame, self.limit, params)

        return split

    def _tokens(self, text: str | tuple[int, ...], params: EmbeddingParams) -> list[int]:
        vocabulary = self.model.vocabulary
        if isinstance(text, str):
            return vocabulary.tokenize(params.prefix + text)
        vocabulary.check_ids(text)
        return list(text)

    def cancel(self) -> None:
        """End running work at once. Safe from any thread."""
        self.model.cancel.set()

    def close(self) -> None:
        """Free the contexts and the model, after waiting for a text that the other thread is tokenizing."""
        self._closed = True
        with self._vocabulary_lock:
            self._workers.close()
            self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _flat(batches: Generator[Iterator[Outcome], None, None]) -> Iterator[Outcome]:
    """Yield the outcomes one by one."""
    with closing(batches):
        for batch in batches:
            yield from batch


def _load(path: Path, params: ModelParams | None, cancel: CancelFlag | None, on_load: Callable[[float], None] | None) -> Model:
    """Load the model, and import NumPy meanwhile, which takes as long as C needs to read a small model."""

    def on_progress(share: float) -> None:
        importlib.import_module("llamacli.engine.embedding.workers")
        if on_load is not None:
            on_load(share)

    return Model(path, params, cancel=cancel, on_load=on_progress)
