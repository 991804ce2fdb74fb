"""Contexts that evaluate batches of pieces, one batch after the other or several in parallel."""

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

MAX_SEQUENCES = 64
"""Texts in one batch. llama.cpp allows 256, but more gain nothing, and its masks grow with texts times tokens."""

SMALL_MODEL = 1 << 30
"""Bytes of a model file up to which contexts run in parallel. Each has its own buffers, and larger models gain nothing."""

Rows = tuple[Piece, Matrix]


class Worker:
    """One context, created on first use, and created anew for a batch larger than its capacity.

    Safe from any thread: it evaluates one batch at a time, and `close()` waits for it.
    """

    def __init__(self, model: Model, params: ContextParams, *, pooling: Pooling, causal: bool | None, budget: int) -> None:
        self._model = model
        self._params = params
        self._pooling = pooling
        self._causal = causal
        self._budget = budget
        self._context: Context | None = None
        self._capacity = 0
        self._using = threading.RLock()  # reentrant: a signal's handler may close
        self._closed = False
        lib = library()
        self._width = lib.llama_model_n_cls_out(model.handle) if pooling == "rank" else lib.llama_model_n_embd_out(model.handle)

    def evaluate(self, batch: Sequence[Piece]) -> list[Rows]:
        """Return the pieces' vectors as the model computes them: one row each, or one per token without pooling.

        Raises:
            MemoryFullError, DecodeError, CancelledError: as `Context` raises them.
            ClosedError: after `close()`.
        """
        with self._using:
            if self._closed:
                raise ClosedError("the embedder is closed")
            return self._evaluate(batch)

    def _evaluate(self, batch: Sequence[Piece]) -> list[Rows]:
        self._model.cancel.check()
        context = self._context_for(sum(len(piece.tokens) for piece in batch))
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
            raise EngineError("llama.cpp returned no vector for a text")
        rows: Matrix = np.stack([np.asarray(float_view(pointer, self._width), dtype=np.float32) for pointer in pointers])
        return rows

    def _context_for(self, tokens: int) -> Context:
        """Return a context for a batch of N tokens, in one micro-batch, because pooling needs all of them."""
        if self._context is None or tokens > self._capacity:
            self._free()
            wanted = max(tokens, self._budget)
            per_sequence = -(-wanted // MAX_SEQUENCES)
            self._capacity = per_sequence * MAX_SEQUENCES
            params = dataclasses.replace(
                self._params,
                n_ctx=per_sequence,
                n_batch=self._capacity,
                n_ubatch=self._capacity,
                n_seq_max=MAX_SEQUENCES,
                kv_unified=True,
                embeddings=True,
                pooling=self._pooling,
            )
            self._context = self._create(params, tokens, wanted)
            if self._causal is not None:
                self._set_attention(self._context, causal=self._causal)
        return self._context

    def _create(self, params: ContextParams, tokens: int, wanted: int) -> Context:
        """Create the context. A memory error names batches or texts, not the cache, which encoders do not have."""
        try:
            return Context(self._model, params)
        except MemoryFullError as error:
            if wanted > tokens:
                message = f"batches of {wanted:,} tokens do not fit in memory"
                raise MemoryFullError(message, hint="use a smaller n_ubatch", parameter="n_ubatch") from error
            message = f"a text of {tokens:,} tokens does not fit in memory"
            raise MemoryFullError(message, hint="use a smaller n_ctx, or split texts into chunks", parameter="n_ctx") from error

    def _set_attention(self, context: Context, *, causal: bool) -> None:
        lib = library()
        if causal and not lib.llama_get_memory(context.handle):  # llama.cpp would ignore the setting
            raise ModelUnsupportedError(f"{self._model.path.name} is an encoder: causal attention is not supported")
        lib.llama_set_causal_attn(context.handle, causal)

    def close(self) -> None:
        """Free the context, after waiting for a running batch."""
        with self._using:
            self._closed = True
            self._free()

    def _free(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            context.close()


class Work:
    """Pending batches: `futures` are being evaluated; `later` are passed to `evaluate` when their rows are requested.

    `check` raises when nobody wants them any more.
    """

    def __init__(
        self,
        evaluate: Callable[[Sequence[Piece]], list[Rows]],
        later: Sequence[Sequence[Piece]],
        futures: set[Future[list[Rows]]],
        check: Callable[[], None],
    ) -> None:
        self._evaluate, self._later, self._futures, self._check = evaluate, later, futures, check

    def rows(self) -> Iterator[list[Rows]]:
        """Yield the rows of each batch when it is done, in any order. Raises what `Worker.evaluate` and `check` raise."""
        for batch in self._later:
            self._check()
            yield self._evaluate(batch)
        while self._futures:
            self._check()
            done, self._futures = wait(self._futures, timeout=0.1, return_when=FIRST_COMPLETED)
            for future in done:
                if future.cancelled():
                    raise ClosedError("the embedder is closed")
                yield future.result()

    def abandon(self) -> None:
        """Cancel the batches that have not started, and wait for those that have."""
        for future in self._futures:
            future.cancel()
        for future in self._futures:
            if not future.cancelled():
                with contextlib.suppress(EngineError, CancelledError):
                    future.result()


class Workers:
    """Evaluate batches in any order, either on one context with all threads or on parallel contexts with one thread each.

    The threads of one context wait for each other hundreds of times in a batch, which costs more the smaller the model and the
    busier the machine. Parallel contexts never wait, so many batches of a small model run on those.
    """

    def __init__(self, model: Model, params: ContextParams, *, pooling: Pooling, causal: bool | None, budget: int) -> None:
        self.budget = budget
        self.max_pieces = MAX_SEQUENCES
        self._threads = params.threads_batch or params.threads or default_threads()
        common = {"pooling": pooling, "causal": causal, "budget": budget}
        self._shared = Worker(model, dataclasses.replace(params, threads=params.threads_batch or params.threads), **common)  # type: ignore[arg-type]
        single = dataclasses.replace(params, threads=1, threads_batch=1)
        parallel = self._threads if _allows_parallel(model) else 0
        self._parallel = [Worker(model, single, **common) for _ in range(parallel)]  # type: ignore[arg-type]
        self._runs_parallel = False
        self._starting = threading.RLock()
        self._closed = False
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._parallel:
            self._free.put(worker)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="llamacli-embed") if parallel else None

    def start(self, batches: Sequence[Sequence[Piece]], check: Callable[[], None] = lambda: None) -> Work:
        """Start to evaluate batches, after those started before, as long as `check` does not raise. Safe from any thread.

        Raises:
            ClosedError: after `close()`.
        """
        with self._starting:
            if self._closed:
                raise ClosedError("the embedder is closed")
            if self._pool is None or (len(batches) < 2 * self._threads and not self._runs_parallel):
                return Work(self._shared.evaluate, batches, set(), check)
            self._runs_parallel = True
            futures = {self._pool.submit(self._evaluate_free, batch) for batch in batches}
            return Work(self._shared.evaluate, (), futures, check)

    def _evaluate_free(self, batch: Sequence[Piece]) -> list[Rows]:
        worker = self._free.get()
        try:
            return worker.evaluate(batch)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """Free all contexts, after waiting for running batches. Waiting for another batch then raises ClosedError."""
        with self._starting:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for worker in (self._shared, *self._parallel):
            worker.close()


def _allows_parallel(model: Model) -> bool:
    on_device = library().llama_supports_gpu_offload() and model.params.gpu_layers != 0
    return not on_device and model.header.size <= SMALL_MODEL
