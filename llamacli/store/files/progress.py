"""How far a download or a conversion is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` bytes (None if nobody knows). `what` is for people to read."""

    what: str
    done: int
    total: int | None


OnProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """The callback that tells nobody."""
