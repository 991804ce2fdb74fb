"""The roofline model: the share of the machine's limits that a model reaches.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures" (2009): work
takes at least as long as reading its data from memory, and at least as long as its arithmetic. Both ceilings are measured
(`bench.roofline.peaks`); the needs of a token follow from the model's header (`gguf.analysis.cost`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llamacli.bench.roofline.ceiling import Ceiling
from llamacli.engine.params import CacheType
from llamacli.gguf.analysis.cost import ModelCost
from llamacli.gguf.layout import TENSOR_TYPES

Bound = Literal["memory", "arithmetic"]

MOST_SHARE = 1.1
"""The largest credible share of a limit: nothing is faster, so a larger one means that the limit was measured too low."""

HELPS = 1.15
"""The smallest speed-up of products in another type that is worth mentioning."""

BITS = {packing.name: 8 * packing.size / packing.block for packing in TENSOR_TYPES.values()}
"""Bits per weight by type."""

_MOST_BITS_APART = 1.0  # a type smaller by at most this has about the same quality
_MOST_BITS = 9.0  # of a type that still counts as quantized


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The needs of one token: bytes from memory, operations by the type of weights, and `attention` operations."""

    bytes: float
    operations: Mapping[str, float]
    attention: float

    @property
    def total_operations(self) -> float:
        """All operations."""
        return sum(self.operations.values()) + self.attention


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One test against its ceilings. Seconds are the least for one token; speeds are tokens per second.

    `interval` is the 95 % interval of the measured median, None if there were too few measurements. `is_disturbed`: other
    programs disturbed the measurement of the ceilings.
    """

    test: str
    need: Need
    memory_seconds: float
    arithmetic_seconds: float
    measured: float
    interval: tuple[float, float] | None
    is_disturbed: bool = False

    @property
    def is_known(self) -> bool:
        """True if limit and share are credible."""
        return not self.is_disturbed and self.share <= MOST_SHARE

    @property
    def bound(self) -> Bound:
        """The ceiling that is reached first."""
        return "memory" if self.memory_seconds >= self.arithmetic_seconds else "arithmetic"

    @property
    def limit(self) -> float:
        """The most tokens per second that the ceilings allow."""
        return 1 / max(self.memory_seconds, self.arithmetic_seconds)

    @property
    def share(self) -> float:
        """The share of the limit that was reached."""
        return self.measured / self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineReport:
    """The ceilings of each device and number of threads, the needs of the model, and its limits.

    `shares`: the part of the weights that each device holds. `is_cached`: the weights fit in the caches, so that memory is not
    a ceiling. `faster`: a type of about the same quality that prompts are multiplied faster with, and how many times as fast;
    None if no type is.
    """

    model: str
    ceilings: tuple[Ceiling, ...]
    cost: ModelCost
    shares: Mapping[str, float]
    prompt: Limit
    generation: Limit
    is_cached: bool
    faster: tuple[str, float] | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RooflineStep:
    """The next measurement; `done` of `total` steps are finished."""

    text: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineJob:
    """The work: a prompt of `n_prompt` tokens and a generation of `n_gen`, both after `depth` tokens."""

    n_prompt: int
    n_gen: int
    depth: int
    ubatch: int
    cache_type_k: CacheType
    cache_type_v: CacheType


def generation_need(cost: ModelCost, job: RooflineJob) -> Need:
    """Return the average needs of a generated token."""
    depth = job.depth + (job.n_gen - 1) / 2
    return Need(
        bytes=cost.weights + cost.cache(depth, job.cache_type_k, job.cache_type_v),
        operations=cost.operations(output=True),
        attention=cost.attention(depth),
    )


def prompt_need(cost: ModelCost, job: RooflineJob) -> Need:
    """Return the average needs of a token of the prompt: weights and cache are read once for a whole micro-batch.

    The tokens of a micro-batch use different experts. Logits are computed only for the last token of the prompt.
    """
    batch = min(job.ubatch, job.n_prompt)
    depth = job.depth + (job.n_prompt - 1) / 2
    weights = sum(
        product.row_size * product.rows * product.count * min(product.experts, product.used * batch)
        if product.experts
        else product.size
        for product in cost.products
        if not product.is_output
    )
    return Need(
        bytes=(weights + cost.other + cost.cache(depth, job.cache_type_k, job.cache_type_v)) / batch,
        operations=cost.operations(output=False),
        attention=cost.attention(depth),
    )


def make_limit(
    test: str,
    need: Need,
    ceilings: Mapping[str, Ceiling],
    shares: Mapping[str, float],
    measured: float,
    interval: tuple[float, float] | None,
    *,
    is_cached: bool,
) -> Limit:
    """Return the limit of a test on the devices that hold the model. They work one after the other, as the layers do."""
    is_prompt = test.startswith("pp")
    memory = 0.0 if is_cached else sum(share * need.bytes / ceilings[name].reading for name, share in shares.items())
    arithmetic = sum(share * _arithmetic(need, ceilings[name], is_prompt=is_prompt) for name, share in shares.items())
    return Limit(
        test=test,
        need=need,
        memory_seconds=memory,
        arithmetic_seconds=arithmetic,
        measured=measured,
        interval=interval,
        is_disturbed=any(_is_disturbed(need, ceilings[name], is_prompt=is_prompt, is_cached=is_cached) for name in shares),
    )


def _is_disturbed(need: Need, ceiling: Ceiling, *, is_prompt: bool, is_cached: bool) -> bool:
    """Return whether one of the figures behind the limit was lost."""
    used = {f"{name} {'prompt' if is_prompt else 'single'}" for name in need.operations}
    return not ceiling.lost.isdisjoint(used if is_cached else used | {"reading"})


def _arithmetic(need: Need, ceiling: Ceiling, *, is_prompt: bool) -> float:
    """Return the seconds of arithmetic for one token; a type of unknown rate counts as the fastest."""
    rates = {name: rate.prompt if is_prompt else rate.single for name, rate in ceiling.rates.items()}
    if not rates:
        return 0.0
    fastest = max(rates.values())
    attention = need.attention / rates.get("F16", fastest)
    return attention + sum(count / rates.get(name, fastest) for name, count in need.operations.items())


def main_type(cost: ModelCost) -> str:
    """Return the type of most operations of a prompt's token."""
    operations = cost.operations(output=False)
    return max(operations, key=lambda name: operations[name])


def faster_type(ceiling: Ceiling, main: str) -> tuple[str, float] | None:
    """Return the fastest type for prompts, of those with about the bits of `main` or more, and how many times as fast it is.

    None if no type is faster by HELPS.
    """
    if main not in ceiling.rates:
        return None
    own = ceiling.rates[main].prompt
    others = {
        name: rate.prompt / own
        for name, rate in ceiling.rates.items()
        if name != main and BITS[main] - _MOST_BITS_APART <= BITS[name] <= _MOST_BITS
    }
    best = max(others, key=lambda name: others[name], default=None)
    return (best, others[best]) if best is not None and others[best] >= HELPS else None


def types_to_measure(cost: ModelCost, others: Sequence[str]) -> list[str]:
    """Return the model's own types, the most used first, then others."""
    operations = cost.operations(output=True)
    return list(dict.fromkeys([*sorted(operations, key=lambda name: -operations[name]), *others]))
