"""Contexts that evaluate batches of pieces, one after the other or side by side."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np

from llamacli.binding.arrays import float_view
from llamacli.binding.library import library
from llamacli.engine.embedding.chunking import Piece
from llamacli.engine.embedding.vectors import Matrix
from llamacli.engine.params import ContextParams, Pooling
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.model import Model
from llamacli.errors import CancelledError, ClosedError, EngineError, MemoryFullError, ModelUnsupportedError

MOST_SEQUENCES = 64
"""Texts in one batch. llama.cpp allows 256; more than these gain nothing, and its masks are made of texts times tokens."""

SMALL_MODEL = 1 << 30
"""Bytes of a model file up to which contexts work side by side: each has its own buffers, and larger models need no help."""

Rows = tuple[Piece, Matrix]


class Worker:
    """One context, made when it is first needed and again when a batch is larger than it was made for.

    Safe from any thread: one batch is evaluated at a time, and `close()` waits for it.
    """

    def __init__(self, model: Model, params: ContextParams, *, pooling: Pooling, causal: bool | None, budget: int) -> None:
        self._model = model
        self._params = params
        self._pooling = pooling
        self._causal = causal
        self._budget = budget
        self._context: Context | None = None
        self._capacity = 0
        self._using = threading.RLock()  # again by the same thread: a signal's handler may close
        self._closed = False
        lib = library()
        self._width = lib.llama_model_n_cls_out(model.handle) if pooling == "rank" else lib.llama_model_n_embd_out(model.handle)

    def evaluate(self, batch: Sequence[Piece]) -> list[Rows]:
        """The pieces' vectors as they come from the model: one row each, or one a token without pooling.

        Raises:
            MemoryFullError, DecodeError, CancelledError: see `Context`.
            ClosedError: `close()` was called.
        """
        with self._using:
            if self._closed:
                raise ClosedError("the embedder is closed")
            return self._evaluate(batch)

    def _evaluate(self, batch: Sequence[Piece]) -> list[Rows]:
        self._model.cancel.check()
        context = self._ready(sum(len(piece.tokens) for piece in batch))
        context.clear()
        tokens = [token for piece in batch for token in piece.tokens]
        positions = [position for piece in batch for position in range(len(piece.tokens))]
        sequences = [number for number, piece in enumerate(batch) for _ in piece.tokens]
        context.decode(tokens, positions, sequences, [1] * len(tokens))
        return [(piece, self._rows(context, batch, number)) for number, piece in enumerate(batch)]

    def _rows(self, context: Context, batch: Sequence[Piece], number: int) -> Matrix:
        lib = library()
        if self._pooling != "none":
            pointers = [lib.llama_get_embeddings_seq(context.handle, number)]
        else:
            start = sum(len(piece.tokens) for piece in batch[:number])
            count = len(batch[number].tokens)
            pointers = [lib.llama_get_embeddings_ith(context.handle, start + offset) for offset in range(count)]
        if not all(pointers):
            raise EngineError("llama.cpp gave no vector for a text")
        rows: Matrix = np.stack([np.asarray(float_view(pointer, self._width), dtype=np.float32) for pointer in pointers])
        return rows

    def _ready(self, tokens: int) -> Context:
        """A context for a batch of so many tokens, which llama.cpp must compute in one micro-batch: pooling needs them all."""
        if self._context is None or tokens > self._capacity:
            self._free()
            wanted = max(tokens, self._budget)
            per_sequence = -(-wanted // MOST_SEQUENCES)
            self._capacity = per_sequence * MOST_SEQUENCES
            params = dataclasses.replace(
                self._params,
                n_ctx=per_sequence,
                n_batch=self._capacity,
                n_ubatch=self._capacity,
                n_seq_max=MOST_SEQUENCES,
                kv_unified=True,
                embeddings=True,
                pooling=self._pooling,
            )
            self._context = self._made(params, tokens, wanted)
            if self._causal is not None:
                self._set_attention(self._context, causal=self._causal)
        return self._context

    def _made(self, params: ContextParams, tokens: int, wanted: int) -> Context:
        """The context. What does not fit is told in the caller's terms: nobody asked for a cache, and encoders have none."""
        try:
            return Context(self._model, params)
        except MemoryFullError as error:
            if wanted > tokens:
                message = f"batches of {wanted:,} tokens do not fit in memory"
                raise MemoryFullError(message, hint="use a smaller -ub") from error
            message = f"a text of {tokens:,} tokens does not fit in memory"
            raise MemoryFullError(message, hint="use a smaller -c, or --chunk N") from error

    def _set_attention(self, context: Context, *, causal: bool) -> None:
        lib = library()
        if causal and not lib.llama_get_memory(context.handle):  # llama.cpp would take no notice
            raise ModelUnsupportedError(f"{self._model.path.name} is an encoder: its attention cannot be causal")
        lib.llama_set_causal_attn(context.handle, causal)

    def close(self) -> None:
        """Frees the context, when no batch is in it any more."""
        with self._using:
            self._closed = True
            self._free()

    def _free(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            context.close()


class Work:
    """Batches on their way: `futures` are being evaluated, `later` ones are by `evaluate` when their rows are asked for."""

    def __init__(
        self,
        evaluate: Callable[[Sequence[Piece]], list[Rows]],
        later: Sequence[Sequence[Piece]],
        futures: set[Future[list[Rows]]],
    ) -> None:
        self._evaluate, self._later, self._futures = evaluate, later, futures

    def rows(self) -> Iterator[list[Rows]]:
        """The rows of each batch as it is done, in any order. Raises what `Worker.evaluate` raises."""
        for batch in self._later:
            yield self._evaluate(batch)
        while self._futures:
            done, self._futures = wait(self._futures, timeout=0.1, return_when=FIRST_COMPLETED)
            for future in done:
                if future.cancelled():
                    raise ClosedError("the embedder is closed")
                yield future.result()

    def abandon(self) -> None:
        """Evaluates no more, and waits for what has begun."""
        for future in self._futures:
            future.cancel()
        for future in self._futures:
            if not future.cancelled():
                with contextlib.suppress(EngineError, CancelledError):
                    future.result()


class Workers:
    """Evaluates batches in any order: many of a small model on contexts of one thread each, all else on one of all threads.

    Threads of one context wait for each other hundreds of times in a batch, which costs the more the smaller the model and the
    busier the machine; contexts side by side never do.
    """

    def __init__(self, model: Model, params: ContextParams, *, pooling: Pooling, causal: bool | None, budget: int) -> None:
        self.budget = budget
        self.most = MOST_SEQUENCES
        self._threads = params.threads_batch or params.threads or default_threads()
        common = {"pooling": pooling, "causal": causal, "budget": budget}
        self._one = Worker(model, dataclasses.replace(params, threads=self._threads), **common)  # type: ignore[arg-type]
        single = dataclasses.replace(params, threads=1, threads_batch=1)
        beside = self._threads if _may_work_beside(model) else 0
        self._many = [Worker(model, single, **common) for _ in range(beside)]  # type: ignore[arg-type]
        self._side_by_side = False
        self._starting = threading.RLock()
        self._closed = False
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._many:
            self._free.put(worker)
        self._pool = ThreadPoolExecutor(beside, thread_name_prefix="llamacli-embed") if beside else None

    def start(self, batches: Sequence[Sequence[Piece]]) -> Work:
        """Begins to evaluate batches, after those that were begun before. Safe from any thread.

        Raises:
            ClosedError: `close()` was called.
        """
        with self._starting:
            if self._closed:
                raise ClosedError("the embedder is closed")
            if self._pool is None or (len(batches) < 2 * self._threads and not self._side_by_side):
                return Work(self._one.evaluate, batches, set())
            self._side_by_side = True
            return Work(self._one.evaluate, (), {self._pool.submit(self._evaluate_free, batch) for batch in batches})

    def _evaluate_free(self, batch: Sequence[Piece]) -> list[Rows]:
        worker = self._free.get()
        try:
            return worker.evaluate(batch)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """Frees all contexts. Batches that are being evaluated are waited for; whoever waits for others gets ClosedError."""
        with self._starting:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for worker in (self._one, *self._many):
            worker.close()


def _may_work_beside(model: Model) -> bool:
    on_device = library().llama_supports_gpu_offload() and model.params.gpu_layers != 0
    return not on_device and model.header.size <= SMALL_MODEL
