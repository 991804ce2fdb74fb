"""Requests that differ from one before in their prompt only, as most of a client do: the rest of them is read once."""

from __future__ import annotations

import json
from typing import Any

MOST_KNOWN = 64
"""Requests of each kind that are remembered."""

_MOST_BYTES = 2048

_APART = frozenset({"continue_final_message", "grammar", "json_schema", "response_format", "suffix", "tool_choice", "tools"})
"""Fields that belong to the prompt, or that become large."""

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)  # msgspec would write null for 1e999


def without_prompt(document: Any, name: str, placeholder: Any) -> bytes | None:
    """Return a request with a placeholder as its prompt, the field `name`; None if it is not worth remembering."""
    if not isinstance(document, dict) or not _APART.isdisjoint(document):
        return None
    try:
        rest = _encoder.encode({**document, name: placeholder}).encode()
    except ValueError:  # an infinity, or half of a surrogate pair: it is refused where it is read
        return None
    return rest if len(rest) <= _MOST_BYTES else None
