"""The parameters of a context for C, and what they promise: results that depend on no neighbour, or on no number of threads."""

from __future__ import annotations

from typing import Any

from llamacli.binding.enums import ggml_type, llama_flash_attn_type, llama_pooling_type, llama_rope_scaling_type
from llamacli.binding.library import library
from llamacli.engine.params import ContextParams, Kernels, ModelParams
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.loading import because
from llamacli.errors import MemoryFullError, ModelUnsupportedError

CACHE_TYPES = {name.removeprefix("GGML_TYPE_").lower(): member for name, member in ggml_type.__members__.items()}
_FLASH = {
    "auto": llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


def native_params(p: ContextParams, size: int, kernels: Kernels) -> Any:
    """Return the `llama_context_params` for `size` tokens in each sequence, and a model with these kernels."""
    c = library().llama_context_default_params()
    threads = p.threads or default_threads()
    c.n_ctx = min(size * p.n_seq_max, 2**32 - 1)
    c.n_batch = min(p.n_batch, c.n_ctx)
    c.n_ubatch = min(p.n_ubatch, c.n_batch)
    c.n_seq_max, c.n_rs_seq = p.n_seq_max, p.rollback
    # One row of logits per sequence instead of one per token of the batch saves 100 MiB on a small model.
    c.n_outputs_max = c.n_batch if p.embeddings or p.all_outputs else max(p.n_seq_max, min(p.n_outputs, c.n_batch))
    c.n_threads, c.n_threads_batch = threads, p.threads_batch or threads
    must_be_off = p.invariant and can_be_invariant(p, kernels) and not attends_alike(p, kernels)
    c.flash_attn_type = _FLASH["off" if must_be_off else p.flash_attention]
    c.type_k, c.type_v = CACHE_TYPES[p.cache_type_k], CACHE_TYPES[p.cache_type_v]
    c.offload_kqv, c.op_offload, c.swa_full = p.kv_offload, p.op_offload, p.swa_full
    c.kv_unified = p.kv_unified
    c.rope_freq_base, c.rope_freq_scale, c.yarn_orig_ctx = p.rope_freq_base, p.rope_freq_scale, p.yarn_orig_ctx
    c.yarn_ext_factor, c.yarn_attn_factor = p.yarn_ext_factor, p.yarn_attn_factor
    c.yarn_beta_fast, c.yarn_beta_slow = p.yarn_beta_fast, p.yarn_beta_slow
    if p.rope_scaling is not None:
        c.rope_scaling_type = llama_rope_scaling_type[f"LLAMA_ROPE_SCALING_TYPE_{p.rope_scaling.upper()}"]
    if p.pooling is not None:
        c.pooling_type = llama_pooling_type[f"LLAMA_POOLING_TYPE_{p.pooling.upper()}"]
    c.embeddings = p.embeddings
    c.no_perf = p.no_perf
    return c


def attends_alike(params: ContextParams, kernels: Kernels) -> bool:
    """Return whether flash attention gives a token, to the bit, the same result in every batch: ours does, on the CPU."""
    ours = kernels == "own" and bool(library().llamacli_kernels_instructions())
    return ours and {params.cache_type_k, params.cache_type_v} <= {"f32", "f16"}


def adapts_threads(params: ContextParams, model: ModelParams) -> bool:
    """Return whether the number of threads may change from step to step.

    It may if the caller leaves it open and results do not depend on it. Those of llama.cpp's flash attention do: it divides
    keys among the threads. What a GPU computes takes no threads.
    """
    on_device = library().llama_supports_gpu_offload() and model.gpu_layers != 0
    divides = params.flash_attention != "off" and {params.cache_type_k, params.cache_type_v} <= {"f32", "f16"}
    same = not divides or attends_alike(params, model.kernels)
    return params.threads is None and default_threads() > 1 and same and not on_device


def can_be_invariant(params: ContextParams, kernels: Kernels) -> bool:
    """Return whether batches can be composed so that each sequence gets, to the bit, the logits that it would get alone.

    llama.cpp's flash attention chooses one of three algorithms by the size of the batch, a unified buffer adds up sequences in
    the order of their arrival, and GPU kernels make no promise.
    """
    whole = {"f32", "f16", "bf16"}
    return (
        (params.flash_attention in ("auto", "off") or attends_alike(params, kernels))
        and not params.kv_unified
        and {params.cache_type_k, params.cache_type_v} <= whole
        and not library().llama_supports_gpu_offload()
    )


def refusal(size: int, complaints: list[str]) -> ModelUnsupportedError | MemoryFullError:
    """Return the error for a context of `size` tokens that llama.cpp did not create, from what it logged."""
    text = " ".join(complaints).lower()
    if any(phrase in text for phrase in ("flash_attn", "flash attention", "quantized v cache", "does not divide")):
        return ModelUnsupportedError(
            f"this model does not support these context parameters{because(complaints)}",
            hint="change flash_attention, cache_type_k or cache_type_v",
            parameter="flash_attention",
        )
    return MemoryFullError(
        f"a context of {size} tokens does not fit in memory{because(complaints)}",
        hint="use a smaller n_ctx",
        parameter="n_ctx",
    )
