"""The dimensions of the search: settings, the values worth trying on this machine, and the phases that they affect.

Cache types below F16 lower the model's quality, so that only requested ones are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from llamacli.bench.measure.setup import Phase, Setup
from llamacli.bench.tune.params import Value
from llamacli.engine.params import CacheType, FlashAttention
from llamacli.engine.runtime.hardware import default_threads

BOTH: tuple[Phase, ...] = ("prompt", "generation")
UBATCHES = (64, 128, 256, 512, 1024, 2048)
BATCHES = (512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One setting. `name` is its key in the settings; `values` are those to try, including the current one.

    `note` says why there is nothing to try, and `parameters` which parameters of the search would change that. `one_by_one`:
    the contexts of all values together need too much memory.
    """

    name: str
    phases: tuple[Phase, ...]
    get: Callable[[Setup], Value]
    set: Callable[[Setup, Value], Setup]
    values: Callable[[Setup], tuple[Value, ...]]
    note: str | None = None
    parameters: tuple[str, ...] = ()
    one_by_one: bool = False


def pinned(setup: Setup) -> Setup:
    """Return the setup with explicit numbers of threads, so that each can be changed alone."""
    return _with(setup, threads=setup.threads("generation"), threads_batch=setup.threads("prompt"))


def dimensions(
    n_prompt: int, *, logical_cpus: int, layers: int, has_gpu: bool, cache_types: Sequence[CacheType] = ()
) -> list[Dimension]:
    """Return the dimensions in the order of their influence. `layers` of the model include the output."""
    found = [_threads("threads", "generation", logical_cpus), _threads("threads-batch", "prompt", logical_cpus)]
    if has_gpu:
        found.insert(0, _gpu_layers(layers))
    return [*found, _ubatch(n_prompt), _batch(n_prompt), _flash_attention(), _cache_types(cache_types)]


def thread_values(cores: int, logical: int) -> set[int]:
    """Return the numbers of threads worth trying: fractions of the physical cores, one less, all, and all logical CPUs."""
    return {max(1, number) for number in (cores // 4, cores // 2, cores * 3 // 4, cores - 1, cores, logical)}


def _with(setup: Setup, **changes: Any) -> Setup:
    return replace(setup, context=replace(setup.context, **changes))


def _threads(name: str, phase: Phase, logical: int) -> Dimension:
    field = name.replace("-", "_")
    return Dimension(
        name=name,
        phases=(phase,),
        get=lambda setup: setup.threads(phase),
        set=lambda setup, value: _with(setup, **{field: value}),
        values=lambda setup: tuple(sorted(thread_values(default_threads(), logical) | {setup.threads(phase)})),
    )


def _ubatch(n_prompt: int) -> Dimension:
    def values(setup: Setup) -> tuple[Value, ...]:
        """Return sizes up to the length of the prompt; larger ones are equivalent."""
        current = setup.context.n_ubatch
        return tuple(sorted({size for size in UBATCHES if size < n_prompt} | _covering(UBATCHES, n_prompt, current)))

    def change(setup: Setup, value: Value) -> Setup:
        return _with(setup, n_ubatch=value, n_batch=max(setup.context.n_batch, int(value)))

    return Dimension(
        name="ubatch-size",
        phases=("prompt",),
        get=lambda setup: setup.context.n_ubatch,
        set=change,
        values=values,
        note=_no_effect(n_prompt),
        parameters=("n_prompt", "budget"),
    )


def _batch(n_prompt: int) -> Dimension:
    def values(setup: Setup) -> tuple[Value, ...]:
        current, least = setup.context.n_batch, setup.context.n_ubatch
        below = {size for size in BATCHES if least <= size < n_prompt}
        return tuple(sorted(below | _covering(BATCHES, n_prompt, current)))

    return Dimension(
        name="batch-size",
        phases=("prompt",),
        get=lambda setup: setup.context.n_batch,
        set=lambda setup, value: _with(setup, n_batch=value),
        values=values,
        note=_no_effect(n_prompt),
        parameters=("n_prompt", "budget"),
    )


def _no_effect(n_prompt: int) -> str:
    return f"no effect on prompts of {n_prompt:,} tokens; longer prompts and a larger budget allow trying it"


def _covering(sizes: Sequence[int], n_prompt: int, current: int) -> set[int]:
    """Return the current size and, if the prompt does not fit in it, the smallest in which it does."""
    whole = next((size for size in sizes if size >= n_prompt), None)
    return {current} if current >= n_prompt or whole is None else {current, whole}


def _flash_attention() -> Dimension:
    def values(setup: Setup) -> tuple[Value, ...]:
        return ("on", "off") if setup.context.flash_attention == "on" else (setup.context.flash_attention, _other(setup))

    def _other(setup: Setup) -> FlashAttention:
        return "on" if setup.context.flash_attention == "off" else "off"

    return Dimension(
        name="flash-attn",
        phases=BOTH,
        get=lambda setup: setup.context.flash_attention,
        set=lambda setup, value: _with(setup, flash_attention=value),
        values=values,
    )


def _cache_types(types: Sequence[CacheType]) -> Dimension:
    """Return the dimension of the cache types: `q8_0` for keys and values, or `f16/q8_0` if the start has two types."""

    def get(setup: Setup) -> Value:
        key, value = setup.context.cache_type_k, setup.context.cache_type_v
        return key if key == value else f"{key}/{value}"

    def change(setup: Setup, value: Value) -> Setup:
        key, _, other = str(value).partition("/")
        return _with(setup, cache_type_k=cast("CacheType", key), cache_type_v=cast("CacheType", other or key))

    return Dimension(
        name="cache-type",
        phases=BOTH,
        get=get,
        set=change,
        values=lambda setup: tuple(dict.fromkeys([get(setup), *types])),
        note="other types lower the quality and are tried only on request",
        parameters=("cache_types",),
    )


def _gpu_layers(layers: int) -> Dimension:
    """Return the dimension of the layers on GPUs: none, half of them, or as many as fit."""

    def get(setup: Setup) -> Value:
        number = setup.model.gpu_layers
        return "auto" if number is None else "all" if number < 0 else number

    def change(setup: Setup, value: Value) -> Setup:
        number = {"auto": None, "all": -1}[value] if isinstance(value, str) else value
        return replace(setup, model=replace(setup.model, gpu_layers=number))

    return Dimension(
        name="gpu-layers",
        phases=BOTH,
        get=get,
        set=change,
        values=lambda setup: tuple(dict.fromkeys([get(setup), "auto", layers // 2, 0])),
        one_by_one=True,
    )
