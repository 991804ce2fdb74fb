"""Models to download: found on the hub, recommended for this machine, or changed since."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from llamacli.render.columns import format_columns
from llamacli.render.text import escape_line
from llamacli.store.models.hub_search import FoundModel, Upstream
from llamacli.store.models.recommend import ENOUGH_TOKENS, Suited
from llamacli.units import format_bytes, format_speed

_DIGITS = 12
"""Digits of a hash that are shown."""


def format_found(found: Sequence[FoundModel], *, width: int | None) -> str:
    """A table of repositories."""
    rows = [("MODEL", "SIZE", "FITS", "DOWNLOADS", "LICENCE", "UPDATED", "QUANTIZATIONS")]
    rows += [
        (
            escape_line(one.reference),
            format_bytes(one.size) if one.size is not None else "",
            "yes" if one.fits else "no",
            f"{one.downloads:,}",
            escape_line(one.licence or ""),
            escape_line(one.updated),
            escape_line(" ".join(one.quantizations)),
        )
        for one in found
    ]
    return format_columns(rows, right=(1, 3), width=width)


def format_suited(found: Sequence[Suited], chosen: Suited | None, *, width: int | None) -> str:
    """A table of models for a purpose, with a star at the recommended one."""
    rows = [("", "MODEL", "SIZE", "FITS", "ABOUT", "LICENCE", "DESCRIPTION")]
    rows += [
        (
            "*" if one is chosen else "",
            one.entry.name,
            format_bytes(one.entry.size),
            "yes" if one.fits else "no",
            format_speed(one.tokens_per_second) if one.fits else "",
            one.entry.licence,
            one.entry.description,
        )
        for one in found
    ]
    return format_columns(rows, right=(2, 4), width=width, names=2)


def format_reason(chosen: Suited, *, memory: int) -> str:
    """Why a model is recommended, in one line."""
    entry = chosen.entry
    speed = f"generates about {format_speed(chosen.tokens_per_second)}" if entry.purpose != "embed" else "is fast enough"
    kind = {"chat": "for conversations", "code": "for code", "embed": "for embeddings", "vision": "for pictures"}[entry.purpose]
    rank = "the largest" if chosen.is_fast else "the fastest"
    return f"{entry.name}: {rank} {kind} that fits into {format_bytes(memory)} of memory and {speed} here" + (
        "" if chosen.is_fast else f", less than {format_speed(ENOUGH_TOKENS)}"
    )


def suited_document(found: Sequence[Suited], chosen: Suited | None, *, memory: int, rate: float) -> dict[str, Any]:
    """The recommendation as JSON."""
    return {
        "recommended": chosen.entry.name if chosen is not None else None,
        "memory": memory,
        "memory_bytes_per_second": round(rate),
        "models": [
            {
                **dataclasses.asdict(one.entry),
                "size": one.entry.size,
                "fits": one.fits,
                "tokens_per_second": round(one.tokens_per_second, 1),
            }
            for one in found
        ],
    }


def format_changes(found: Sequence[Upstream], *, width: int | None) -> str:
    """A table of downloaded files that the hub has changed or removed."""
    rows = [("MODEL", "HERE", "UPSTREAM")]
    rows += [
        (escape_line(one.reference), one.old[:_DIGITS], one.new[:_DIGITS] if one.new is not None else "removed")
        for one in found
        if one.state != "current"
    ]
    return format_columns(rows, width=width)
