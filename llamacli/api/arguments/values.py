"""Arguments of `Llama`: validated before anything is loaded, and accepted as llama-cpp-python's numbers too."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

from llamacli.binding.enums import ggml_numa_strategy
from llamacli.engine.embedding.params import Attention
from llamacli.engine.params import CacheType, FlashAttention, Override, Pooling, RopeScaling, SplitMode
from llamacli.errors import UsageError
from llamacli.gguf.layout import TENSOR_TYPES

T = TypeVar("T", bound=str)

_RANDOM_SEED: Final = 0xFFFFFFFF
"""LLAMA_DEFAULT_SEED, which stands for a random seed."""

# llama.h numbers split modes and poolings in this order.
_SPLIT_MODES: dict[int, SplitMode] = dict(enumerate(get_args(SplitMode)))
_POOLINGS: dict[int, Pooling] = dict(enumerate(get_args(Pooling)))
_ROPE_SCALINGS: dict[int, RopeScaling] = dict(enumerate(get_args(RopeScaling)))
_ATTENTIONS: dict[int, Attention] = dict(enumerate(get_args(Attention)))
_FLASH: dict[int, FlashAttention] = {-1: "auto", 0: "off", 1: "on"}
_CACHE_TYPES: dict[int, CacheType] = {
    number: kind for kind in get_args(CacheType) for number, packing in TENSOR_TYPES.items() if packing.name.lower() == kind
}


def cache_type(name: str, value: CacheType | int | None) -> CacheType:
    """Return the type of a KV cache from its name or ggml's number; None is f16."""
    return "f16" if value is None else _one_of(name, value, _CACHE_TYPES)


def split_mode(value: SplitMode | int) -> SplitMode:
    """Return a split mode from its name or LLAMA_SPLIT_MODE_*."""
    return _one_of("split_mode", value, _SPLIT_MODES)


def pooling(value: Pooling | int | None) -> Pooling | None:
    """Return a pooling from its name or LLAMA_POOLING_TYPE_*; None and -1 leave it to the model."""
    return None if value is None or value == -1 else _one_of("pooling_type", value, _POOLINGS)


def pooling_number(value: Pooling | None) -> int:
    """Return the number of a pooling, LLAMA_POOLING_TYPE_*; -1 for None."""
    return next((number for number, name in _POOLINGS.items() if name == value), -1)


def flash_attention(value: bool | FlashAttention | int | None) -> FlashAttention:
    """Return the flash attention setting from a boolean, its name or LLAMA_FLASH_ATTN_TYPE_*; None leaves it to llama.cpp."""
    return "auto" if value is None else _one_of("flash_attn", value, _FLASH)


def seed(value: int | None) -> int | None:
    """Return a seed; None, negative numbers and LLAMA_DEFAULT_SEED stand for a random one."""
    if value is None:
        return None
    number = whole("seed", value)
    return None if number < 0 or number == _RANDOM_SEED else number


def whole(name: str, value: Any) -> int:
    """Convert an integer of any type to Python's.

    Raises:
        UsageError: if it is not an integer.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(f"{name} must be an integer, not {value!r}", parameter=name) from None


def whole_or_none(name: str, value: Any) -> int | None:
    """Convert an integer of any type to Python's; None stays None."""
    return None if value is None else whole(name, value)


def number(name: str, value: Any) -> float:
    """Convert a number of any type to a float.

    Raises:
        UsageError: if it is not a number.
    """
    try:
        return float(value) if not isinstance(value, str | bytes) else _not_a_number(name, value)
    except (TypeError, ValueError, OverflowError):
        return _not_a_number(name, value)


def _not_a_number(name: str, value: Any) -> float:
    raise UsageError(f"{name} must be a number, not {value!r}", parameter=name)


def threads(name: str, value: Any) -> int | None:
    """Return a number of threads; None and 0 leave it to the engine."""
    return whole_or_none(name, value) or None


def rope_scaling(value: RopeScaling | int | None) -> RopeScaling | None:
    """Return a RoPE scaling from its name or LLAMA_ROPE_SCALING_TYPE_*; None and -1 leave it to the model."""
    return None if value is None or value == -1 else _one_of("rope_scaling_type", value, _ROPE_SCALINGS)


def attention(value: Attention | int | None) -> Attention | None:
    """Return an attention from its name or LLAMA_ATTENTION_TYPE_*; None and -1 leave it to the model."""
    return None if value is None or value == -1 else _one_of("attention_type", value, _ATTENTIONS)


def overrides(given: Mapping[Any, Any] | None) -> tuple[tuple[str, Override], ...]:
    """Return replacements of metadata.

    Raises:
        UsageError: if one of them is not a boolean, a number or a text.
    """
    for key, value in (given or {}).items():
        if not isinstance(key, str) or not isinstance(value, bool | int | float | str):
            raise UsageError(f"kv_overrides: {key!r} has the value {value!r}, where a boolean, a number or a text is needed")
    return tuple((given or {}).items())


def numa(value: bool | int) -> int:
    """Return GGML_NUMA_STRATEGY_*; True is DISTRIBUTE."""
    strategy = int(value) if isinstance(value, bool) else whole("numa", value)
    if not 0 <= strategy < ggml_numa_strategy.GGML_NUMA_STRATEGY_COUNT:
        raise UsageError(f"numa must be a boolean or a GGML_NUMA_STRATEGY, not {value!r}", parameter="numa")
    return strategy


def _one_of(name: str, value: Any, choices: Mapping[int, T]) -> T:
    for number, choice in choices.items():
        if value in (number, choice):
            return choice
    raise UsageError(f"{name} must be one of {', '.join(choices.values())}, not {value!r}")
