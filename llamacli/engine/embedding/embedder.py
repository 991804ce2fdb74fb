"""Vectors from texts: a model, its contexts, and the way from texts to vectors and back into the order of the texts."""

from __future__ import annotations

import importlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from llamacli.binding.library import library
from llamacli.engine.embedding.chunking import Frame, Piece, cut, frame_of, pair_frame, room_for
from llamacli.engine.embedding.packing import pack
from llamacli.engine.embedding.params import Attention, Embedded, EmbeddingParams, NotEmbedded, Outcome
from llamacli.engine.embedding.prefetch import ahead
from llamacli.engine.params import ContextParams, ModelParams, Pooling
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.model import Model
from llamacli.errors import CancelledError, CapacityError, EngineError, LlamacliError, ModelUnsupportedError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.vectors import Matrix
    from llamacli.engine.embedding.workers import Work

logger = logging.getLogger("llamacli.engine")

POOLINGS: tuple[Pooling, ...] = ("none", "mean", "cls", "last", "rank")
"""In the order of llama.cpp's numbers."""

FIRST_WINDOW, LARGEST_WINDOW = 256, 4096
"""Texts that are sorted and packed together: few at first, so that the work begins at once."""
WINDOW_TOKENS = 1 << 16
FINGERPRINT_BYTES = 1 << 20

Text = str | LlamacliError
"""A text, or why there is none."""


@dataclass(slots=True)
class _Pending:
    """A text whose pieces are being evaluated. `rows` are the vectors of those that are done, by their part."""

    index: int
    weights: list[int]
    cut: bool
    rows: dict[int, Matrix]


@dataclass(slots=True)
class _Window:
    """Texts that are evaluated together: finished ones (errors) and pending ones, by index, and the pieces of these."""

    failed: dict[int, LlamacliError]
    pending: dict[int, _Pending]
    pieces: list[Piece]


class Embedder:
    """Loads a model and makes vectors. A context manager; `close()` frees everything and may be called twice.

    `context.pooling` None takes the model's own; for a model that has none, the mean. `context.n_ctx` is the longest text in
    tokens (None or 0: as trained). `budget` are the tokens of one batch, unless a text alone has more; None is `best_budget`,
    and `context.n_batch` and `n_ubatch` do not count. `attention` None is the model's own.

    Raises (when built): what `Model` raises; ModelUnsupportedError for a model that makes no vectors, or not these.
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

        self._vocabulary_in_use, self._closed = threading.Lock(), False
        try:
            params = context or ContextParams()
            self._rope = _rope_of(params)
            self._check_kind()
            self.pooling = self._choose_pooling(params.pooling)
            self.limit = self._limit(params.n_ctx)
            self._frame = frame_of(self.model.vocabulary)
            self.attention = self._attention(attention)
            budget = budget or min(self.best_budget(), max(self.limit, 64))
            causal = None if attention is None else attention == "causal"
            self._workers = Workers(self.model, params, pooling=self.pooling, causal=causal, budget=budget)
        except BaseException:
            self.model.close()
            raise
        logger.info(
            "pooling %s, %s attention, up to %d tokens a text, %s, %d tokens a batch",
            self.pooling, self.attention, self.limit, self._describe_frame(), budget,
        )  # fmt: skip

    def _check_kind(self) -> None:
        if self.model.has_encoder and self.model.can_generate:
            raise ModelUnsupportedError(f"{self.model.path.name} is an encoder-decoder model: it makes no vectors of texts")

    def _choose_pooling(self, asked: Pooling | None) -> Pooling:
        """The pooling asked for, else the model's, else the mean."""
        header = self.model.header
        own = header.integer(f"{header.architecture}.pooling_type")
        pooling = asked or (POOLINGS[own] if own is not None and 0 <= own < len(POOLINGS) else None)
        if pooling is None or (pooling == "none" and asked is None):
            pooling = "mean"
            self.model.notes.append(f"{self.model.path.name} says nothing about pooling: the mean of all tokens is taken")
        if pooling == "rank" and not any(tensor.name.startswith("cls") for tensor in header.tensors):
            raise ModelUnsupportedError(f"{self.model.path.name} is no reranking model: it has no classifier")
        return pooling

    def _limit(self, asked: int | None) -> int:
        trained = self.model.n_ctx_train
        return min(asked, trained) if asked and trained else asked or trained or ContextParams().n_batch

    def _attention(self, asked: Attention | None) -> Attention:
        header = self.model.header
        own: Attention = "causal" if header.flag(f"{header.architecture}.attention.causal") is not False else "non-causal"
        if self.model.has_encoder:
            own = "non-causal"
        return asked or own

    def best_budget(self) -> int:
        """Tokens for one batch, enough to share a reading of the weights, and few enough for two reasons.

        What a layer computes for them should stay in the processor's caches. And where attention does not go by tiles (see
        `embedding_packing`), as without flash attention, it is computed between all tokens of a batch, whichever texts they
        belong to: for n tokens and a model of width d that takes about n / 6d of the rest of a layer, a ninth at n = 2d / 3.
        """
        return max(128, min(512, self.dimension * 2 // 3 // 64 * 64))

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
        """Numbers in a row of an outcome: the dimension, or the scores of a reranking model."""
        lib = library()
        return int(lib.llama_model_n_cls_out(self.model.handle)) if self.pooling == "rank" else self.dimension

    @property
    def notes(self) -> list[str]:
        """What was done otherwise than one may expect."""
        return self.model.notes

    @property
    def name(self) -> str:
        """What the model's metadata calls it, or its file's name."""
        return self.model.header.text("general.name") or self.model.path.stem

    def fingerprint(self) -> str:
        """A hash of the file's header, of samples of its data, of adapters and of what is asked of RoPE: other weights or
        positions, other fingerprint.
        """
        import hashlib

        header = self.model.header
        digest = hashlib.sha256(str(header.size).encode())
        with self.model.path.open("rb") as file:
            for offset in (0, header.data_offset, (header.data_offset + header.size) // 2, header.size - FINGERPRINT_BYTES):
                file.seek(max(0, offset))
                digest.update(file.read(FINGERPRINT_BYTES))
        for lora in self.model.params.loras:
            digest.update(str(lora.scale).encode() + Path(lora.path).read_bytes())
        if self._rope != _rope_of(ContextParams()):
            digest.update(str(self._rope).encode())
        return digest.hexdigest()

    def embed(
        self, texts: Iterable[Text], params: EmbeddingParams | None = None, *, on_done: Callable[[int], None] | None = None
    ) -> Iterator[Outcome]:
        """An outcome for each text, in order. `on_done` is told, now and then, how many texts are finished.

        Texts are read ahead on another thread. An error of a text is its outcome; errors of the model are raised.

        Raises:
            UsageError: these parameters make no sense with this model, or leave no room for text.
            MemoryFullError, DecodeError: a batch could not be evaluated.
            CancelledError: `cancel` was called.
        """
        params = params or EmbeddingParams()
        if params.dims is not None and self.pooling == "rank":
            raise UsageError("--dims makes no sense with pooling rank")
        if params.dims is not None and params.dims > self.dimension:
            raise UsageError(f"--dims {params.dims} is more than the {self.dimension} numbers of the model's vectors")
        room_for(self._frame, self.limit, params)
        return self._outcomes(texts, params, self._frame, on_done)

    def rerank(
        self, query: str, texts: Iterable[Text], params: EmbeddingParams, *, on_done: Callable[[int], None] | None = None
    ) -> Iterator[Outcome]:
        """Like `embed`: the row of each outcome holds how well the text answers `query`.

        Raises:
            ModelUnsupportedError: not a reranking model.
            UsageError: an empty query, or one that leaves no room for a text.
        """
        if self.pooling != "rank":
            raise ModelUnsupportedError(f"{self.model.path.name} is no reranking model: its pooling is {self.pooling}")
        if not query.strip():
            raise UsageError("the query is empty")
        frame = pair_frame(self.model, self._frame, query)
        room_for(frame, self.limit, params)
        return self._outcomes(texts, params, frame, on_done)

    def _outcomes(
        self, texts: Iterable[Text], params: EmbeddingParams, frame: Frame, on_done: Callable[[int], None] | None
    ) -> Iterator[Outcome]:
        finished = 0

        def note(count: int) -> None:
            nonlocal finished
            finished += count
            if on_done is not None:
                on_done(finished)

        begun: deque[tuple[_Window, Work]] = deque()
        with closing(ahead(self._windows(texts, params, frame), self.model.cancel.check)) as windows:
            try:
                for window in windows:
                    if window is not None:
                        batches = pack(window.pieces, budget=self._workers.budget, most=self._workers.most)
                        begun.append((window, self._workers.start(batches)))
                    while len(begun) > (window is not None):  # while one is finished, the workers are at the next
                        yield from self._finish(*begun[0], params, note)
                        begun.popleft()
                for last in begun:
                    yield from self._finish(*last, params, note)
            finally:
                for _, work in begun:
                    work.abandon()

    def _finish(self, window: _Window, work: Work, params: EmbeddingParams, note: Callable[[int], None]) -> Iterator[Outcome]:
        """The outcomes of a window's texts. `note` is told after each batch how many more of them are complete."""
        note(len(window.failed))
        for rows in work.rows():
            complete = 0
            for piece, vectors in rows:
                pending = window.pending[piece.owner]
                pending.rows[piece.part] = vectors
                complete += len(pending.rows) == len(pending.weights)
            note(complete)
        for index in sorted([*window.failed, *window.pending]):
            error = window.failed.get(index)
            yield NotEmbedded(index, error) if error else self._outcome(window.pending[index], params)

    def _windows(self, texts: Iterable[Text], params: EmbeddingParams, frame: Frame) -> Iterator[_Window]:
        """Tokenized texts. Runs on a thread of its own."""
        size, window, tokens = FIRST_WINDOW, _Window({}, {}, []), 0
        most = WINDOW_TOKENS if self.pooling != "none" else WINDOW_TOKENS // 8
        for index, text in enumerate(texts):
            self.model.cancel.check()
            try:
                parts, was_cut = self._parts(text, params, frame)
            except (UsageError, CapacityError) as error:
                window.failed[index] = error
            else:
                weights = [len(part) for part in parts]
                window.pending[index] = _Pending(index, weights, was_cut, {})
                window.pieces += [Piece(index, number, part) for number, part in enumerate(parts)]
                tokens += sum(weights)
            if len(window.failed) + len(window.pending) >= size or tokens >= most:
                yield window
                size, window, tokens = min(2 * size, LARGEST_WINDOW), _Window({}, {}, []), 0
        if window.failed or window.pending:
            yield window

    def _parts(self, text: Text, params: EmbeddingParams, frame: Frame) -> tuple[list[list[int]], bool]:
        if isinstance(text, LlamacliError):
            raise text
        if not text.strip():
            raise UsageError("the text is empty")
        with self._vocabulary_in_use:
            if self._closed:
                raise CancelledError("the model is closed")
            tokens = self.model.vocabulary.tokenize(params.prefix + text)
        return cut(tokens, frame, self.limit, params)

    def _outcome(self, pending: _Pending, params: EmbeddingParams) -> Outcome:
        from llamacli.engine.embedding import vectors as embedding_vectors

        vectors = embedding_vectors.joined([rows for _, rows in sorted(pending.rows.items())])
        of_rows = pending.weights if self.pooling != "none" else [1] * len(vectors)
        if len(pending.rows) > 1 and params.merge and self.pooling != "none":
            vectors = embedding_vectors.weighted_mean(vectors, pending.weights)
            of_rows = [sum(pending.weights)]
        normalize = "none" if self.pooling == "rank" else params.normalize
        try:
            ready = embedding_vectors.finish(vectors, normalize=normalize, dims=params.dims)
        except EngineError as error:
            return NotEmbedded(pending.index, error)
        return Embedded(pending.index, ready, tuple(of_rows), pending.cut)

    def cancel(self) -> None:
        """Ends the work that goes on, at once. Safe from any thread."""
        self.model.cancel.set()

    def close(self) -> None:
        """Frees contexts and model. If a text is being tokenized on the other thread, waits until it is done."""
        self._closed = True
        with self._vocabulary_in_use:
            self._workers.close()
            self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _rope_of(params: ContextParams) -> tuple[str | float | None, ...]:
    """How positions are stretched."""
    return params.rope_scaling, params.rope_freq_base, params.rope_freq_scale, params.yarn_orig_ctx


def _load(path: Path, params: ModelParams | None, cancel: CancelFlag | None, on_load: Callable[[float], None] | None) -> Model:
    """The model, and the modules that need NumPy: importing it takes as long as C needs for a small model, at the same time."""

    def told(share: float) -> None:
        importlib.import_module("llamacli.engine.embedding.workers")
        if on_load is not None:
            on_load(share)

    return Model(path, params, cancel=cancel, on_load=told)
