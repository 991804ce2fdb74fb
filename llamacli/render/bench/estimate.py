"""Estimates as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # its module needs numpy
    from llamacli.bench.quality.estimates import Estimate


def format_estimate(estimate: Estimate, pattern: str, bounds: str = "[{}, {}]") -> str:
    """Return the value by a pattern for numbers, followed by its bounds, unless they are not known: `15.3 [15.1, 15.5]`."""
    value = pattern.format(estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} {bounds.format(pattern.format(estimate.low), pattern.format(estimate.high))}"
