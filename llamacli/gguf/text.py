"""Untrusted text of a file, made safe for a terminal and for a one-line message."""

from __future__ import annotations

import re
from pathlib import PurePath

_UNSAFE = "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
"""C0 and C1 controls, invisible characters, direction overrides, line separators, and bytes that were not UTF-8."""


def printable(text: str, limit: int | None = None) -> str:
    """Return `text` with control characters, invisible characters and stray bytes escaped, cut to `limit` characters."""
    if limit is not None and len(text) > limit:
        return re.sub(_UNSAFE, _escape, text[: limit - 1])[: limit - 1] + "…"
    escaped = re.sub(_UNSAFE, _escape, text)
    return escaped if limit is None or len(escaped) <= limit else escaped[: limit - 1] + "…"


def has_controls(text: str) -> bool:
    """Return whether `text` has a character that a terminal acts on, other than line ends and tabs."""
    return any(match.group() not in "\n\r\t" for match in re.finditer(_UNSAFE, text))


def short_name(path: str) -> str:
    """Return the last part of a path or URL for messages, at most 50 characters."""
    name = printable(PurePath(path).name or path)
    return name if len(name) <= 50 else f"{name[:15]}…{name[-34:]}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
