"""Bounded repetitions in rules that llama.cpp and our parser accept, up to a million times."""

from __future__ import annotations

from math import isqrt

from llamacli.grammar.schema.rules import Rules

LARGEST_COUNT = 1_000_000
"""Larger bounds have no grammar."""
_DIRECT = 1000
"""Repetitions are written out, so longer ones are composed of blocks."""


def repeat(rules: Rules, item: str, low: int, high: int | None) -> str:
    """Return a repetition of the rule `item`, from `low` to `high` times (None: without an upper bound); maybe empty."""
    if high is None:
        return {0: f"{item}*", 1: f"{item}+"}.get(low) or f"{_exactly(rules, item, low)} {item}*"
    if (low, high) == (0, 1):
        return f"{item}?"
    if high <= _DIRECT:
        return "" if high == 0 else f"{item}{{{low}}}" if low == high else f"{item}{{{low},{high}}}"
    return " ".join(filter(None, (_exactly(rules, item, low), _up_to(rules, item, high - low))))


def _exactly(rules: Rules, item: str, count: int) -> str:
    if count <= _DIRECT:
        return f"{item}{{{count}}}" if count else ""
    size = isqrt(count)
    block = rules.add(f"{item}-{size}", f"{item}{{{size}}}")
    blocks, rest = divmod(count, size)
    return f"{block}{{{blocks}}}" + (f" {item}{{{rest}}}" if rest else "")


def _up_to(rules: Rules, item: str, count: int) -> str:
    if count <= _DIRECT:
        return f"{item}{{0,{count}}}" if count else ""
    size = isqrt(count)
    block = rules.add(f"{item}-{size}", f"{item}{{{size}}}")
    blocks, rest = divmod(count, size)
    last = f"{block}{{{blocks}}}" + (f" {item}{{0,{rest}}}" if rest else "")
    return rules.add(f"{item}-up-to-{count}", f"{block}{{0,{blocks - 1}}} {item}{{0,{size - 1}}} | {last}")
