"""Progress reports of downloads and conversions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` bytes (None if unknown). `label` describes the task to the user, `folder` is where its file goes."""

    label: str
    done: int
    total: int | None
    folder: Path | None = None


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Ignore a progress report."""
