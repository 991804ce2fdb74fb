"""Evaluated prompts on disk, as a table and as JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llamacli.render.columns import format_columns
from llamacli.render.residents import format_seconds
from llamacli.render.text import escape_line
from llamacli.render.wrap import wrap
from llamacli.store.prompt_cache.folder import Kept
from llamacli.units import format_bytes


def format_kept(kept: Sequence[Kept], *, width: int | None = None) -> str:
    """A table of the models whose prompts are kept, and the sum of several."""
    if not kept:
        return "\n".join(wrap("No evaluated prompt is kept.", width)) + "\n"
    now = time.time()
    rows = [("MODEL", "TOKENS", "SIZE", "LAST USED")]
    rows += [
        (escape_line(one.model), f"{one.tokens:,}", format_bytes(one.size), f"{format_seconds(max(0.0, now - one.used))} ago")
        for one in kept
    ]
    if len(kept) > 1:
        rows.append(("all", f"{sum(one.tokens for one in kept):,}", format_bytes(sum(one.size for one in kept)), ""))
    return format_columns(rows, right=(1, 2, 3), width=width, names=1)


def kept_document(kept: Sequence[Kept], folder: Path) -> dict[str, Any]:
    """The models whose prompts are kept as JSON, in the form of OpenAI's lists. Sizes in bytes, times in seconds since 1970."""
    return {
        "object": "list",
        "folder": str(folder),
        "data": [
            {"id": one.model, "object": "prompts", "tokens": one.tokens, "size": one.size, "used": int(one.used)}
            for one in kept
        ],
    }
