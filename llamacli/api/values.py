"""The values that `Llama` is made with: checked before anything is loaded, and taken in llama-cpp-python's numbers too."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

from llamacli.engine.params import CacheType, FlashAttention, Pooling, SplitMode
from llamacli.errors import UsageError
from llamacli.gguf.layout import TENSOR_TYPES

T = TypeVar("T", bound=str)

_RANDOM_SEED: Final = 0xFFFFFFFF
"""LLAMA_DEFAULT_SEED, which stands for a seed that is drawn."""

# llama.h numbers the ways to split and to pool in the order in which they are named here.
_SPLIT_MODES: dict[int, SplitMode] = dict(enumerate(get_args(SplitMode)))
_POOLINGS: dict[int, Pooling] = dict(enumerate(get_args(Pooling)))
_FLASH: dict[int, FlashAttention] = {-1: "auto", 0: "off", 1: "on"}
_CACHE_TYPES: dict[int, CacheType] = {
    number: kind for kind in get_args(CacheType) for number, packing in TENSOR_TYPES.items() if packing.name.lower() == kind
}


def cache_type(name: str, value: CacheType | int | None) -> CacheType:
    """The type of a cache: its name or ggml's number; None is f16."""
    return "f16" if value is None else _one_of(name, value, _CACHE_TYPES)


def split_mode(value: SplitMode | int) -> SplitMode:
    """A way to split, by its name or as LLAMA_SPLIT_MODE_*."""
    return _one_of("split_mode", value, _SPLIT_MODES)


def pooling(value: Pooling | int | None) -> Pooling | None:
    """A pooling, by its name or as LLAMA_POOLING_TYPE_*; None and -1 leave it to the model."""
    return None if value is None or value == -1 else _one_of("pooling_type", value, _POOLINGS)


def flash_attention(value: bool | FlashAttention | int | None) -> FlashAttention:
    """Whether to use flash attention: yes, no, or as LLAMA_FLASH_ATTN_TYPE_*; None leaves it to llama.cpp."""
    return "auto" if value is None else _one_of("flash_attn", value, _FLASH)


def seed(value: int | None) -> int | None:
    """A seed; None, what is negative and LLAMA_DEFAULT_SEED draw one."""
    if value is None:
        return None
    number = whole("seed", value)
    return None if number < 0 or number == _RANDOM_SEED else number


def whole(name: str, value: Any) -> int:
    """An integer of any kind as Python's.

    Raises:
        UsageError: it is no integer.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(f"{name} is {value!r}, where an integer is needed") from None


def whole_or_none(name: str, value: Any) -> int | None:
    """An integer of any kind as Python's, or None."""
    return None if value is None else whole(name, value)


def _one_of(name: str, value: Any, choices: Mapping[int, T]) -> T:
    for number, choice in choices.items():
        if value in (number, choice):
            return choice
    raise UsageError(f"{name} is {value!r}, where {', '.join(choices.values())} are known")
