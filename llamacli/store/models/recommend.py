"""Which model of the catalogue suits this machine: the largest that fits into its memory and is fast enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llamacli.store.models import hub_catalogue
from llamacli.store.models.hub_catalogue import HubEntry, Purpose

ENOUGH_TOKENS = 6.0
"""Generated tokens per second that are enough: about as fast as one reads."""

_CONTEXT_BYTES = 1 << 29
"""Memory beside the weights: the context and the program."""

_SHARE = 0.7
"""Share of the speed of copying memory with which weights are read."""


@dataclass(frozen=True, slots=True)
class Suited:
    """How a model suits a machine: whether it fits, and about its tokens per second."""

    entry: HubEntry
    fits: bool
    tokens_per_second: float

    @property
    def is_fast(self) -> bool:
        """True if it is fast enough to talk to."""
        return self.tokens_per_second >= ENOUGH_TOKENS


def rate(purpose: Purpose, *, memory: int, bytes_per_second: float) -> list[Suited]:
    """The models for a purpose, the largest first. `memory` is in bytes, `bytes_per_second` the rate of reading it."""
    return [
        Suited(entry, entry.size + _CONTEXT_BYTES <= memory, _SHARE * bytes_per_second / entry.read_per_token)
        for entry in sorted(hub_catalogue.entries(), key=lambda one: -one.billions)
        if entry.purpose == purpose
    ]


def best(found: Sequence[Suited]) -> Suited | None:
    """Return the largest model that fits and is fast enough, else the fastest that fits; None if there is no such model."""
    fitting = [one for one in found if one.fits]
    fast = [one for one in fitting if one.is_fast]
    return fast[0] if fast else max(fitting, key=lambda one: one.tokens_per_second, default=None)
