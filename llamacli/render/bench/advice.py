"""The advice of the roofline: for each test what bounds its speed, and what would help."""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.bench.roofline.model import Limit, RooflineReport, main_type
from llamacli.units import format_bytes

NEAR = 0.7
"""The share of a limit from which the bound explains the speed."""


def format_advice(report: RooflineReport) -> Iterator[str]:
    """Yield a sentence for each test whose limit is known."""
    if report.generation.is_known:
        yield _generation_advice(report.generation, is_cached=report.is_cached)
    if report.prompt.is_known:
        yield _prompt_advice(report.prompt, report.faster, main_type(report.cost))


def _prompt_advice(prompt: Limit, faster: tuple[str, float] | None, main: str) -> str:
    reached = f"Prompts reach {prompt.share:.0%} of what"
    if prompt.bound == "memory":
        return f"{reached} memory allows: a larger micro-batch (-ub) reads the weights less often."
    reached += " the arithmetic units allow"
    if faster is not None:
        name, times = faster
        return f"{reached}: {main} is the bottleneck, {name} products are {times:.1f} times as fast; see `llamacli bench tune`."
    if prompt.share >= NEAR:
        return f"{reached}: only a faster processor helps."
    return f"{reached}: attention and waiting threads take the rest; try -tb, -ub and -fa with `llamacli bench tune`."


def _generation_advice(generation: Limit, *, is_cached: bool) -> str:
    reached = f"Generation reaches {generation.share:.0%} of what"
    need, read = generation.need, 1e3 * generation.memory_seconds
    if generation.share < NEAR:
        bound = "memory allows" if generation.bound == "memory" else "the arithmetic units allow"
        return (
            f"{reached} {bound}: the rest is lost between many small steps, or to other programs; try -t with "
            "`llamacli bench tune`."
        )
    if generation.bound == "memory":
        return (
            f"{reached} memory allows: reading {format_bytes(need.bytes)} takes {read:.3g} ms of each token; a smaller "
            "quantization or faster memory helps, more threads do not."
        )
    cached = ", as the weights fit in the caches" if is_cached else ""
    return f"{reached} the arithmetic units allow{cached}: more cores, or a type with faster products, would help."
