"""From the arguments of `Llama` to the engine's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llamacli.api.arguments import values
from llamacli.api.loading import context_size, find_model
from llamacli.engine.params import ContextParams, LoraAdapter, ModelParams

if TYPE_CHECKING:
    from llamacli.api.speculative import LlamaDraftModel

SCORED: Final = 64
"""Tokens of a prompt that are scored at once, when their log probabilities are shown."""

_FACTORS: Final = (
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
)
"""Arguments that are numbers, and the engine's parameters of the same names."""


def context_params(path: Path, given: Mapping[str, Any]) -> ContextParams:
    """Return the parameters of contexts. `path` is the model's file, `given` has every argument.

    Raises:
        UsageError: if a value is invalid.
    """
    n_batch = values.whole("n_batch", given["n_batch"])
    factors: dict[str, Any] = {name: values.number(name, given[name]) for name in _FACTORS}
    return ContextParams(
        n_ctx=context_size(path, values.whole_or_none("n_ctx", given["n_ctx"])),
        n_batch=n_batch,
        n_ubatch=min(values.whole("n_ubatch", given["n_ubatch"]), n_batch),
        n_seq_max=values.whole("n_parallel", given["n_parallel"]),
        threads=values.threads("n_threads", given["n_threads"]),
        threads_batch=values.threads("n_threads_batch", given["n_threads_batch"]),
        flash_attention=values.flash_attention(given["flash_attn"]),
        cache_type_k=values.cache_type("type_k", given["type_k"]),
        cache_type_v=values.cache_type("type_v", given["type_v"]),
        kv_offload=bool(given["offload_kqv"]) and not given["low_vram"],
        op_offload=given["op_offload"] is not False,
        swa_full=bool(given["swa_full"]),
        rope_scaling=values.rope_scaling(given["rope_scaling_type"]),
        yarn_orig_ctx=values.whole("yarn_orig_ctx", given["yarn_orig_ctx"]),
        no_perf=bool(given["no_perf"]),
        n_outputs=SCORED,
        **factors,
    )


def model_params(given: Mapping[str, Any]) -> ModelParams:
    """Return the parameters of the model. `given` has every argument.

    Raises:
        UsageError: if a value is invalid.
    """
    device, lora = given["device"], given["lora_path"]
    return ModelParams(
        gpu_layers=values.whole_or_none("n_gpu_layers", given["n_gpu_layers"]),
        split_mode=values.split_mode(given["split_mode"]),
        main_gpu=values.whole("main_gpu", given["main_gpu"]),
        tensor_split=tuple(given["tensor_split"] or ()),
        devices=() if device is None else ("none",) if device == "cpu" else (device,),
        vocabulary_only=given["vocab_only"],
        mmap=given["use_mmap"] is not False,
        huge_pages=given["use_mmap"] is None,
        mlock=given["use_mlock"],
        loras=(LoraAdapter(path=str(lora), scale=given["lora_scale"]),) if lora is not None else (),
        overrides=values.overrides(given["kv_overrides"]),
        numa=values.numa(given["numa"]),
        mmproj=str(given["mmproj"]) if given["mmproj"] is not None else None,
        image_max_tokens=values.whole_or_none("image_max_tokens", given["image_max_tokens"]),
        draft_model=given["draft_model"],
    )


def draft_path(
    draft_model: LlamaDraftModel | str | PathLike[str] | None,
) -> tuple[LlamaDraftModel | None, str | None]:
    """Return the argument `draft_model` as an object that guesses, or as the file of a model.

    Raises:
        ModelNotFoundError, DownloadError: if there is no such model.
    """
    if isinstance(draft_model, str | PathLike):
        return None, str(find_model(draft_model).resolve())
    return draft_model, None
