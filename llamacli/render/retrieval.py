"""Passages that were cited, and the quality of searches, as text and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llamacli.render.columns import format_columns
from llamacli.retrieval.evaluation import Quality


@dataclass(frozen=True, slots=True)
class Measured:
    """A way of searching, its quality, and the mean seconds of a question."""

    name: str
    quality: Quality
    seconds: float


def format_quality(measured: Sequence[Measured], *, width: int | None) -> str:
    """Return a table with a line for each way of searching."""
    cuts = list(measured[0].quality.recall)
    head = ("search", *(f"recall@{cut}" for cut in cuts), "MRR", "ms")
    rows = [
        (one.name, *(f"{one.quality.recall[cut]:.3f}" for cut in cuts), f"{one.quality.mrr:.3f}", f"{1e3 * one.seconds:.1f}")
        for one in measured
    ]
    return format_columns([head, *rows], right=range(1, len(head)), width=width)


def quality_document(measured: Sequence[Measured]) -> dict[str, Any]:
    """Return the same for JSON."""
    return {
        "questions": measured[0].quality.questions,
        "searches": [
            {
                "search": one.name,
                "recall": {str(cut): round(share, 6) for cut, share in one.quality.recall.items()},
                "mrr": round(one.quality.mrr, 6),
                "ms": round(1e3 * one.seconds, 3),
            }
            for one in measured
        ],
    }
