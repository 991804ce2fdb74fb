"""The memory that a KV cache needs, and whether there is enough of it."""

from __future__ import annotations

from llamacli.binding.library import library
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context_params import CACHE_TYPES
from llamacli.engine.runtime.hardware import available_memory
from llamacli.engine.runtime.model import Model
from llamacli.errors import MemoryFullError
from llamacli.units import format_bytes

_LARGE = 1 << 28
"""Bytes of KV cache up to which the memory check is skipped."""


def check_cache(model: Model, params: ContextParams, size: int, *, beside: int = 0) -> None:
    """Reject a cache larger than the memory: the system would grant it, and kill the process when it is used.

    `beside` are bytes that another cache, still empty, will take. The estimate is an upper bound (full attention in every
    layer). Models whose layers cache less (sliding window, recurrent) are left to the allocator.

    Raises:
        MemoryFullError: if there is too little memory for `size` tokens in each sequence.
    """
    lib = library()
    on_device = params.kv_offload and lib.llama_supports_gpu_offload()
    if model.is_recurrent or model.window or on_device:
        return
    needed = cache_bytes(model, params) * size * params.n_seq_max + beside
    available = available_memory()
    if needed > _LARGE and available is not None and needed > available:
        raise MemoryFullError(
            f"the KV cache{'s' if beside else ''} of {size} tokens need{'' if beside else 's'} {format_bytes(needed)}, "
            f"but only {format_bytes(available)} are free",
            hint="use a smaller n_ctx, or cache_type_k=q8_0 and cache_type_v=q8_0",
            parameter="n_ctx",
        )


def cache_bytes(model: Model, params: ContextParams) -> int:
    """Return the bytes of KV cache per token of a sequence, with full attention in every layer."""
    lib = library()
    heads = max(1, lib.llama_model_n_head(model.handle))
    width = lib.llama_model_n_embd(model.handle) // heads * lib.llama_model_n_head_kv(model.handle)
    row = sum(lib.ggml_row_size(CACHE_TYPES[kind], width) for kind in (params.cache_type_k, params.cache_type_v))
    return int(row * lib.llama_model_n_layer(model.handle))
