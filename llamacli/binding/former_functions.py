"""Functions that `llama.h` no longer has, made of those that took their place."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from typing import Any, Final

FORMER_FUNCTIONS: Final = {
    "llama_set_adapter_lora": (
        "int32_t llama_set_adapter_lora(struct llama_context * ctx, struct llama_adapter_lora * adapter, float scale)"
    ),
    "llama_apply_adapter_cvec": (
        "int32_t llama_apply_adapter_cvec(struct llama_context * ctx, const float * data, size_t len, int32_t n_embd, "
        "int32_t il_start, int32_t il_end)"
    ),
}
"""Their C declarations by name."""


def former_function(name: str, find: Callable[[str], Any]) -> Callable[..., int]:
    """Return a function of `FORMER_FUNCTIONS`. `find` returns today's functions and types by their C names."""

    def set_adapter_lora(context: Any, adapter: Any, scale: float, /) -> int:
        _warn("llama_set_adapter_lora", "llama_set_adapters_lora")
        adapters = (find("llama_adapter_lora_p") * 1)(adapter)
        status: int = find("llama_set_adapters_lora")(context, adapters, 1, (ctypes.c_float * 1)(scale))
        return status

    def apply_adapter_cvec(*arguments: Any) -> int:
        _warn("llama_apply_adapter_cvec", "llama_set_adapter_cvec")
        status: int = find("llama_set_adapter_cvec")(*arguments)
        return status

    made = {"llama_set_adapter_lora": set_adapter_lora, "llama_apply_adapter_cvec": apply_adapter_cvec}[name]
    made.__doc__ = f"{FORMER_FUNCTIONS[name]};"
    return made


def _warn(name: str, successor: str) -> None:
    warnings.warn(f"{name} is deprecated: use {successor}", DeprecationWarning, stacklevel=3)
