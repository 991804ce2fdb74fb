"""The settings that a search goes through: which values are worth trying on this machine, and which speeds they touch.

The types of the cache lower the model's quality below F16, so that only those are tried that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from llamacli.bench.measure.trial import Phase, Way
from llamacli.bench.tune.params import Value
from llamacli.engine.params import CacheType, FlashAttention
from llamacli.engine.runtime.hardware import default_threads

BOTH: tuple[Phase, ...] = ("prompt", "generation")
UBATCHES = (64, 128, 256, 512, 1024, 2048)
BATCHES = (512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One setting. `name` is the option's long name; `values` are those to try, the current one among them.

    `note` says why there is nothing to try. `one_by_one`: too much memory is needed to have all values ready together.
    """

    name: str
    phases: tuple[Phase, ...]
    get: Callable[[Way], Value]
    set: Callable[[Way, Value], Way]
    values: Callable[[Way], tuple[Value, ...]]
    note: Callable[[Way], str | None] = lambda _: None
    one_by_one: bool = False


def pinned(way: Way) -> Way:
    """The same with its threads in numbers, so that each can be changed alone."""
    return _with(way, threads=way.threads("generation"), threads_batch=way.threads("prompt"))


def dimensions(
    n_prompt: int, *, logical_cpus: int, layers: int, has_gpu: bool, cache_types: Sequence[CacheType] = ()
) -> list[Dimension]:
    """The settings in the order of their influence. `layers` of the model, the output included."""
    found = [_threads("threads", "generation", logical_cpus), _threads("threads-batch", "prompt", logical_cpus)]
    if has_gpu:
        found.insert(0, _gpu_layers(layers))
    return [*found, _ubatch(n_prompt), _batch(n_prompt), _flash_attention(), _cache_types(cache_types)]


def thread_values(cores: int, logical: int) -> set[int]:
    """Numbers of threads worth trying: parts of the physical cores, one less than all, all, and all logical CPUs."""
    return {max(1, number) for number in (cores // 4, cores // 2, cores * 3 // 4, cores - 1, cores, logical)}


def _with(way: Way, **changes: Any) -> Way:
    return replace(way, context=replace(way.context, **changes))


def _threads(name: str, phase: Phase, logical: int) -> Dimension:
    field = name.replace("-", "_")
    return Dimension(
        name=name,
        phases=(phase,),
        get=lambda way: way.threads(phase),
        set=lambda way, value: _with(way, **{field: value}),
        values=lambda way: tuple(sorted(thread_values(default_threads(), logical) | {way.threads(phase)})),
    )


def _ubatch(n_prompt: int) -> Dimension:
    def values(way: Way) -> tuple[Value, ...]:
        """Above the length of the prompt all are the same."""
        current = way.context.n_ubatch
        return tuple(sorted({size for size in UBATCHES if size < n_prompt} | _reaching(UBATCHES, n_prompt, current)))

    def change(way: Way, value: Value) -> Way:
        return _with(way, n_ubatch=value, n_batch=max(way.context.n_batch, int(value)))

    return Dimension(
        name="ubatch-size",
        phases=("prompt",),
        get=lambda way: way.context.n_ubatch,
        set=change,
        values=values,
        note=lambda _: _too_short(n_prompt),
    )


def _batch(n_prompt: int) -> Dimension:
    def values(way: Way) -> tuple[Value, ...]:
        current, least = way.context.n_batch, way.context.n_ubatch
        below = {size for size in BATCHES if least <= size < n_prompt}
        return tuple(sorted(below | _reaching(BATCHES, n_prompt, current)))

    return Dimension(
        name="batch-size",
        phases=("prompt",),
        get=lambda way: way.context.n_batch,
        set=lambda way, value: _with(way, n_batch=value),
        values=values,
        note=lambda _: _too_short(n_prompt),
    )


def _too_short(n_prompt: int) -> str:
    return f"makes no difference for prompts of {n_prompt:,} tokens; a larger -p or --budget tries it"


def _reaching(sizes: Sequence[int], n_prompt: int, current: int) -> set[int]:
    """The current size, and the smallest that holds the whole prompt unless the current one does."""
    whole = next((size for size in sizes if size >= n_prompt), None)
    return {current} if current >= n_prompt or whole is None else {current, whole}


def _flash_attention() -> Dimension:
    def values(way: Way) -> tuple[Value, ...]:
        return ("on", "off") if way.context.flash_attention == "on" else (way.context.flash_attention, _other(way))

    def _other(way: Way) -> FlashAttention:
        return "on" if way.context.flash_attention == "off" else "off"

    return Dimension(
        name="flash-attn",
        phases=BOTH,
        get=lambda way: way.context.flash_attention,
        set=lambda way, value: _with(way, flash_attention=value),
        values=values,
    )


def _cache_types(types: Sequence[CacheType]) -> Dimension:
    """Keys and values of one type, written `q8_0`; a start that has two is written `f16/q8_0`."""

    def get(way: Way) -> Value:
        key, value = way.context.cache_type_k, way.context.cache_type_v
        return key if key == value else f"{key}/{value}"

    def change(way: Way, value: Value) -> Way:
        key, _, other = str(value).partition("/")
        return _with(way, cache_type_k=cast("CacheType", key), cache_type_v=cast("CacheType", other or key))

    return Dimension(
        name="cache-type",
        phases=BOTH,
        get=get,
        set=change,
        values=lambda way: tuple(dict.fromkeys([get(way), *types])),
        note=lambda _: "others lower the quality and are tried on demand: --cache-types f16,q8_0",
    )


def _gpu_layers(layers: int) -> Dimension:
    """None of the layers on GPUs, half of them, or what fits."""

    def get(way: Way) -> Value:
        number = way.model.gpu_layers
        return "auto" if number is None else "all" if number < 0 else number

    def change(way: Way, value: Value) -> Way:
        number = {"auto": None, "all": -1}[value] if isinstance(value, str) else value
        return replace(way, model=replace(way.model, gpu_layers=number))

    return Dimension(
        name="gpu-layers",
        phases=BOTH,
        get=get,
        set=change,
        values=lambda way: tuple(dict.fromkeys([get(way), "auto", layers // 2, 0])),
        one_by_one=True,
    )
