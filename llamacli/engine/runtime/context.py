"""A context: a model's KV cache and compute buffers, in which batches are evaluated."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from llamacli.binding import log
from llamacli.binding.arrays import BatchArrays, byte_array, byte_buffer, byte_view, float_array, float_view, pointer_array
from llamacli.binding.enums import llama_context_type
from llamacli.binding.kernels import KERNELS
from llamacli.binding.library import declarations, library
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.cache_size import check_cache
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context_params import adapts_threads, can_be_invariant, native_params, refusal
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.threads.adaptive import AdaptiveThreads, Step
from llamacli.errors import ClosedError, EngineError, ModelUnsupportedError, StateError

if TYPE_CHECKING:
    from llamacli.binding.media import EmbeddingBatch

_WHOLE, _PARTIAL = 0, 1
"""Flags of a state: all of it, or `LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY`, the windows and recurrent layers."""

_EVALUATION_CALLBACK: Any = declarations.type("ggml_backend_sched_eval_callback")


class EvaluationObserver(Protocol):
    """What watches evaluations: addresses of a C callback and of its data."""

    callback: int
    address: int


class Context:
    """Evaluates batches for up to `params.n_seq_max` sequences of `n_ctx` tokens each. Closed before its model.

    The caller resolves an `n_ctx` of None, which stands for the length that the model was trained with. `cancel` ends an
    evaluation; without it the model's own flag does. `observer` is asked about every node of the graph. `heads_of`: it is that
    of what predicts further tokens from the states of this context: the same model's layers for that, or the head in a file.

    Raises (when built):
        MemoryFullError: if cache and buffers do not fit.
        ModelUnsupportedError: if the model does not support these parameters.
    """

    def __init__(
        self,
        model: Model,
        params: ContextParams,
        *,
        cancel: CancelFlag | None = None,
        observer: EvaluationObserver | None = None,
        heads_of: Context | None = None,
    ) -> None:
        if model.vocab_only:
            raise ModelUnsupportedError("only the vocabulary of this model was loaded: it cannot evaluate tokens")
        self.model = model
        self.params = params
        self._library = library()
        size = params.n_ctx or model.n_ctx_train
        self.is_invariant = params.invariant and can_be_invariant(params, model.params.kernels)
        """True if the logits of a sequence do not depend, to the bit, on the sequences in its batch."""
        c_params = native_params(params, size, model.params.kernels)
        cancel = cancel or model.cancel
        c_params.abort_callback = cancel.abort_callback
        c_params.abort_callback_data = cancel.address
        if observer is not None:
            c_params.cb_eval = _EVALUATION_CALLBACK(observer.callback)
            c_params.cb_eval_user_data = observer.address
        if heads_of is not None:
            c_params.ctx_other = heads_of.handle
        if heads_of is not None and heads_of.model is model:
            c_params.ctx_type = llama_context_type.LLAMA_CONTEXT_TYPE_MTP
        else:
            check_cache(model, params, size)
        self._handle: Any = self._create(c_params, size)
        self._memory = self._library.llama_get_memory(self._handle)
        if not self._memory and c_params.n_outputs_max < c_params.n_batch:
            # A model without a memory gives an output for every token of a batch, and llama.cpp aborts without room for it.
            self.close()
            c_params.n_outputs_max = c_params.n_batch
            self._handle = self._create(c_params, size)
        # llama.cpp rounds up to 256; the requested size is the limit.
        self.n_ctx = min(size, int(self._library.llama_n_ctx_seq(self._handle)))
        self._rollback = int(self._library.llama_n_rs_seq(self._handle))
        self.n_batch = int(self._library.llama_n_batch(self._handle))
        self.n_outputs = min(self.n_batch, c_params.n_outputs_max)
        self._batch = BatchArrays(self.n_batch)
        self._embeddings: EmbeddingBatch | None = None
        self._threads: AdaptiveThreads | None = None
        if adapts_threads(params, model.params):
            apply = partial(self._library.llama_set_n_threads, self._handle)
            self._threads = AdaptiveThreads(default_threads(), params.threads_batch, apply)
        self._apply_adapters()

    def _create(self, c_params: Any, size: int) -> Any:
        """Create the `llama_context`."""
        with log.complaints() as complaints:
            handle = self._library.llama_init_from_model(self.model.handle, c_params)
        if not handle:
            raise refusal(size, complaints)
        return handle

    def _apply_adapters(self) -> None:
        adapters = self.model.adapters
        if adapters:
            handles = pointer_array("llama_adapter_lora", [handle for handle, _ in adapters])
            scales = float_array(scale for _, scale in adapters)
            if self._library.llama_set_adapters_lora(self._handle, handles, len(adapters), scales) != 0:
                self.close()
                raise EngineError("llama.cpp could not apply the LoRA adapters")

    @property
    def handle(self) -> Any:
        """The `llama_context` pointer.

        Raises:
            ClosedError: if the context was closed.
        """
        if self._handle is None:
            raise ClosedError("the context is closed")
        self.model.require_open()
        return self._handle

    @property
    def evaluator(self) -> Any:
        """The `llama_context` pointer for a call from this thread that evaluates, with the kernels of the model.

        Raises:
            ClosedError: if the context was closed.
        """
        self._library.llamacli_choose_kernels(KERNELS[self.model.params.kernels])
        return self.handle

    def decode(
        self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[int], *, counts: bool = True
    ) -> None:
        """Evaluate one batch. All lists have one entry per token; `outputs` is 1 for tokens whose logits are needed.

        `counts`: its time is measured to find the fastest number of threads.

        Raises:
            ContextFullError: if the cache is full.
            CancelledError: if the cancel flag was set; an unknown part of the batch is in the cache then.
            DecodeError: if llama.cpp failed.
        """
        with self.step(len(tokens)) if counts else nullcontext():
            self._library.llama_decode(self.evaluator, self._batch.fill(tokens, positions, sequences, outputs))

    def decode_embeddings(
        self, rows: bytes, positions: list[list[int]], sequence: int, *, output: bool, is_causal: bool = True
    ) -> None:
        """Evaluate embeddings of one sequence, at most `n_batch`: rows of 32-bit floats instead of tokens.

        `positions` has a list for each section of M-RoPE, otherwise one. `output`: the logits of the last row are needed.
        Unless `is_causal`, each row attends to all of them.

        Raises: as `decode`.
        """
        sections, count = len(positions), len(positions[0])
        if self._embeddings is None:
            from llamacli.binding.media import EmbeddingBatch  # most prompts have text only

            self._embeddings = EmbeddingBatch(self.n_batch, sections)
        batch = self._embeddings.fill(rows, positions, sequence, output=output)
        if not is_causal:
            self._library.llama_set_causal_attn(self.handle, False)
        try:
            with self.step(count):
                self._library.llama_decode(self.evaluator, batch)
        finally:
            if not is_causal:
                self._library.llama_set_causal_attn(self.handle, True)

    def step(self, tokens: int) -> AbstractContextManager[Step]:
        """A block that evaluates batches of so many tokens, with as many threads as are fastest now."""
        return self._threads.step(tokens) if self._threads is not None else nullcontext(Step())

    def logits(self, index: int) -> memoryview[float]:
        """Return the logits of output `index` of the last batch: n_vocab floats, valid until the next batch."""
        pointer = self._library.llama_get_logits_ith(self.handle, index)
        if not pointer:
            raise EngineError(f"the last batch has no output {index}")
        return float_view(pointer, self.model.vocabulary.size)

    def logit_rows(self, index: int, count: int) -> memoryview[float]:
        """Return the logits of `count` outputs of the last batch, the first of which is that of token `index`.

        They are count times n_vocab floats, valid until the next batch.
        """
        pointer = self._library.llama_get_logits_ith(self.handle, index)
        if not pointer:
            raise EngineError(f"token {index} of the last batch has no output")
        return float_view(pointer, self.model.vocabulary.size * count)

    def synchronize(self) -> None:
        """Wait for the end of the evaluation: on a GPU, `decode` returns before it."""
        self._library.llama_synchronize(self.handle)

    def forget(self, sequence: int, start: int = 0, end: int = -1) -> bool:
        """Remove the positions [start, end) of a sequence from the cache; an `end` of -1 is the end of the sequence.

        Return False if this kind of memory cannot do that.
        """
        return bool(self._library.llama_memory_seq_rm(self._live_memory(), sequence, start, end))

    def keeps(self, sequence: int, length: int) -> bool:
        """Return whether a sequence can continue from its first `length` tokens alone.

        Recurrent models cache only the last state, sliding-window layers only the last window.
        """
        if self.model.is_recurrent:
            return False
        oldest = self._library.llama_memory_seq_pos_min(self._live_memory(), sequence)
        return self.is_cuttable or oldest <= max(0, length - self.model.window - 1)

    @property
    def is_cuttable(self) -> bool:
        """True if a sequence can continue from any of its tokens."""
        return not self.model.is_recurrent and (not self.model.window or self.params.swa_full)

    def can_drop_last(self, count: int) -> bool:
        """Return whether the last `count` tokens of a batch can be dropped again, without loss of those before.

        What a window needs before them is overwritten by later micro-batches only.
        """
        if self.model.is_recurrent:
            return count <= self._rollback
        return self.is_cuttable or count < min(self.n_batch, self.params.n_ubatch)

    def copy(self, source: int, target: int) -> None:
        """Replace the cache of `target` with that of `source`."""
        self.forget(target)
        self._library.llama_memory_seq_cp(self._live_memory(), source, target, -1, -1)

    def shift(self, sequence: int, start: int, end: int, delta: int) -> None:
        """Shift the positions [start, end) of a sequence by `delta`."""
        self._library.llama_memory_seq_add(self._live_memory(), sequence, start, end, delta)

    @property
    def can_shift(self) -> bool:
        """True if positions in the cache can be shifted."""
        return bool(self._library.llama_memory_can_shift(self._live_memory()))

    def clear(self) -> None:
        """Clear the cache."""
        self._library.llama_memory_clear(self._live_memory(), False)

    def sequence_bytes(self, sequence: int, *, partial: bool = False) -> int:
        """Return the number of bytes that `save_sequence` would return."""
        return int(self._library.llama_state_seq_get_size_ext(self.handle, sequence, _PARTIAL if partial else _WHOLE))

    def save_sequence(self, sequence: int, *, partial: bool = False) -> bytes:
        """Return the cache of one sequence, as llama.cpp serializes it. `partial`: only what cannot be cut at any token."""
        size = self.sequence_bytes(sequence, partial=partial)
        buffer = byte_buffer(size)
        flags = _PARTIAL if partial else _WHOLE
        written = self._library.llama_state_seq_get_data_ext(self.handle, buffer, size, sequence, flags)
        return bytes(memoryview(buffer)[:written])

    def save_sequence_into(self, sequence: int, buffer: Any) -> int:
        """Write what `save_sequence` returns into writable memory of `sequence_bytes` bytes; return the number of bytes."""
        size = len(buffer)
        return int(self._library.llama_state_seq_get_data_ext(self.handle, byte_view(buffer), size, sequence, _WHOLE))

    @property
    def n_streams(self) -> int:
        """The parts of the cache: one for each sequence, or one for all."""
        return 1 if self.params.kv_unified else self.params.n_seq_max

    def restore_sequence(self, sequence: int, data: bytes | memoryview, *, partial: bool = False) -> None:
        """Restore what `save_sequence` returned. The bytes must have been verified: llama.cpp aborts on corrupt ones.

        Raises:
            StateError: if llama.cpp rejects them.
        """
        with log.complaints():
            array = byte_array(data) if isinstance(data, bytes) else byte_view(data)
            flags = _PARTIAL if partial else _WHOLE
            read = self._library.llama_state_seq_set_data_ext(self.handle, array, len(data), sequence, flags)
        if read != len(data):
            self.forget(sequence)
            raise StateError("llama.cpp rejected the saved state")

    def _live_memory(self) -> Any:
        if self._handle is None:
            raise ClosedError("the context is closed")
        return self._memory

    def close(self) -> None:
        """Free cache and buffers."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._library.llama_free(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
