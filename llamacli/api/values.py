"""Arguments of `Llama`: validated before anything is loaded, and accepted as llama-cpp-python's numbers too."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

from llamacli.engine.params import CacheType, FlashAttention, Pooling, SplitMode
from llamacli.errors import UsageError
from llamacli.gguf.layout import TENSOR_TYPES

T = TypeVar("T", bound=str)

_RANDOM_SEED: Final = 0xFFFFFFFF
"""LLAMA_DEFAULT_SEED, which stands for a random seed."""

# llama.h numbers split modes and poolings in this order.
_SPLIT_MODES: dict[int, SplitMode] = dict(enumerate(get_args(SplitMode)))
_POOLINGS: dict[int, Pooling] = dict(enumerate(get_args(Pooling)))
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
        raise UsageError(f"{name} must be an integer, not {value!r}") from None


def whole_or_none(name: str, value: Any) -> int | None:
    """Convert an integer of any type to Python's; None stays None."""
    return None if value is None else whole(name, value)


def _one_of(name: str, value: Any, choices: Mapping[int, T]) -> T:
    for number, choice in choices.items():
        if value in (number, choice):
            return choice
    raise UsageError(f"{name} must be one of {', '.join(choices.values())}, not {value!r}")
