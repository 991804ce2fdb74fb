"""How near a model comes to what the machine can do: the roofline model.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures" (2009): work
takes at least as long as reading its data from memory, and at least as long as its arithmetic. Both ceilings are measured
(`engine.ceilings`); what a token needs follows from the model's header (`gguf.cost`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from llamacli.bench.roofline.peaks import Ceiling
from llamacli.engine.params import CacheType
from llamacli.gguf.analysis.cost import ModelCost
from llamacli.gguf.layout import TENSOR_TYPES

Bound = Literal["memory", "arithmetic"]

NEAR = 0.7
"""Share of the limit from which the bound explains the speed."""

MOST_SHARE = 1.1
"""Nothing is faster than its limit: a share beyond what noise explains tells that the limit was measured too low."""

HELPS = 1.15
"""How much faster another type must be multiplied to be worth a word."""

BITS = {packing.name: 8 * packing.size / packing.block for packing in TENSOR_TYPES.values()}
"""Bits of a weight by type."""

_MOST_BITS_APART = 1.0  # by which a type may be smaller and still stand for much the same quality
_MOST_BITS = 9.0  # of a type that is still a quantized one


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one token needs: bytes from memory, and operations by the type of weights; `attention` operations besides."""

    bytes: float
    operations: Mapping[str, float]
    attention: float

    @property
    def total_operations(self) -> float:
        """All operations."""
        return sum(self.operations.values()) + self.attention


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One test against its ceilings. Seconds are those of one token at least; speeds are tokens per second.

    `interval` is the 95 % interval of the measured median, None where nothing was measured often enough. `is_disturbed`: other
    programs were in the way when the ceilings were measured.
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
        """Whether limit and share can be believed."""
        return not self.is_disturbed and self.share <= MOST_SHARE

    @property
    def bound(self) -> Bound:
        """What takes longer at least."""
        return "memory" if self.memory_seconds >= self.arithmetic_seconds else "arithmetic"

    @property
    def limit(self) -> float:
        """The most tokens per second that the ceilings allow."""
        return 1 / max(self.memory_seconds, self.arithmetic_seconds)

    @property
    def share(self) -> float:
        """How much of the limit was reached."""
        return self.measured / self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineReport:
    """The ceilings of each device and number of threads, what the model needs, and how near it comes.

    `shares`: the part of the weights that each device holds. `is_cached`: the weights fit in the caches, so that memory is no
    ceiling. `advice`: sentences that say what bounds the speed and what would help.
    """

    model: str
    ceilings: tuple[Ceiling, ...]
    cost: ModelCost
    shares: Mapping[str, float]
    prompt: Limit
    generation: Limit
    is_cached: bool
    advice: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is compared: a prompt of `n_prompt` tokens and a generation of `n_gen`, both after `depth` tokens."""

    n_prompt: int
    n_gen: int
    depth: int
    ubatch: int
    cache_type_k: CacheType
    cache_type_v: CacheType


def generation_need(cost: ModelCost, job: Job) -> Need:
    """What a generated token needs, on the average of the generation."""
    depth = job.depth + (job.n_gen - 1) / 2
    return Need(
        bytes=cost.weights + cost.cache(depth, job.cache_type_k, job.cache_type_v),
        operations=cost.operations(output=True),
        attention=cost.attention(depth),
    )


def prompt_need(cost: ModelCost, job: Job) -> Need:
    """What a token of the prompt needs, on the average: weights and cache are read once for a whole micro-batch.

    The tokens of a micro-batch want different experts. Logits are made for the last token of the prompt only.
    """
    together = min(job.ubatch, job.n_prompt)
    depth = job.depth + (job.n_prompt - 1) / 2
    weights = sum(
        product.row_size * product.rows * product.count * min(product.experts, product.used * together)
        if product.experts
        else product.size
        for product in cost.products
        if not product.is_output
    )
    return Need(
        bytes=(weights + cost.other + cost.cache(depth, job.cache_type_k, job.cache_type_v)) / together,
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
    """A test against the ceilings of the devices that hold the model, one after the other as the layers are."""
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
    """Whether one of the figures that the limit follows from was lost."""
    used = {f"{name} {'prompt' if is_prompt else 'single'}" for name in need.operations}
    return not ceiling.lost.isdisjoint(used if is_cached else used | {"reading"})


def _arithmetic(need: Need, ceiling: Ceiling, *, is_prompt: bool) -> float:
    """Seconds of arithmetic for one token; a type whose rate is not known counts as fast as the fastest."""
    rates = {name: rate.prompt if is_prompt else rate.single for name, rate in ceiling.rates.items()}
    if not rates:
        return 0.0
    fastest = max(rates.values())
    attention = need.attention / rates.get("F16", fastest)
    return attention + sum(count / rates.get(name, fastest) for name, count in need.operations.items())


def make_advice(prompt: Limit, generation: Limit, ceiling: Ceiling, cost: ModelCost, *, is_cached: bool) -> Iterator[str]:
    """A sentence for each test: what bounds it, and what would help. `ceiling` is that of the device that holds most.

    Of a test whose limit is not known nothing is said.
    """
    if generation.is_known:
        yield _generation_advice(generation, is_cached=is_cached)
    if prompt.is_known:
        yield _prompt_advice(prompt, ceiling, main_type(cost))


def _prompt_advice(prompt: Limit, ceiling: Ceiling, main: str) -> str:
    near = f"Prompts reach {prompt.share:.0%} of what {'memory' if prompt.bound == 'memory' else 'the arithmetic units'} allow"
    if prompt.bound == "memory":
        return f"{near}s: a larger micro-batch (-ub) reads the weights less often."
    if better := faster_type(ceiling, main):
        name, times = better
        return (
            f"{near}: {main} is the brake, as {name} is multiplied {times:.1f} times as fast here; see `llamacli bench tune`."
        )
    if prompt.share >= NEAR:
        return f"{near}: only a faster processor helps."
    return f"{near}: the rest goes to attention and to threads that wait; try -tb, -ub and -fa with `llamacli bench tune`."


def _generation_advice(generation: Limit, *, is_cached: bool) -> str:
    reached = f"Generation reaches {generation.share:.0%} of what"
    need, read = generation.need, 1e3 * generation.memory_seconds
    if generation.share < NEAR:
        return (
            f"{reached} {'memory allows' if generation.bound == 'memory' else 'the arithmetic units allow'}: the rest is lost "
            "between many small steps, or to other programs; try -t with `llamacli bench tune`."
        )
    if generation.bound == "memory":
        return (
            f"{reached} memory allows: reading {need.bytes / 1e6:,.0f} MB takes {read:.3g} ms of each token; a smaller "
            "quantization or faster memory helps, more threads do not."
        )
    cached = ", as the weights fit in the caches" if is_cached else ""
    return f"{reached} the arithmetic units allow{cached}: more cores, or a type that is multiplied faster, help."


def main_type(cost: ModelCost) -> str:
    """The type that most operations of a prompt's token are done in."""
    operations = cost.operations(output=False)
    return max(operations, key=lambda name: operations[name])


def faster_type(ceiling: Ceiling, main: str) -> tuple[str, float] | None:
    """The type that prompts are multiplied with fastest, of those with about as many bits as `main` or more, and how many times
    as fast; None if none is worth it.
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
    """The model's own types, the most used first, then others."""
    operations = cost.operations(output=True)
    return list(dict.fromkeys([*sorted(operations, key=lambda name: -operations[name]), *others]))
