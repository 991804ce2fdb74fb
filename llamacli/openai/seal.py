"""Reasoning as opaque text that clients hand back unread, where an API has a field for it."""

from __future__ import annotations

import base64
import binascii

_MARK = "llamacli-reasoning:"


def seal(reasoning: str) -> str:
    """Return the opaque text. It is encoded, not secret."""
    return base64.b64encode((_MARK + reasoning).encode()).decode()


def unseal(given: str) -> str | None:
    """Return the reasoning in text that `seal` made, None of other text."""
    try:
        text = base64.b64decode(given, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return text.removeprefix(_MARK) if text.startswith(_MARK) else None
