"""Progress reports of downloads and conversions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` bytes (None if unknown). `label` describes the task to the user."""

    label: str
    done: int
    total: int | None


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Ignore a progress report."""
