"""Code in Markdown."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(.*?)^ {0,3}\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)


def first_code_block(text: str) -> str | None:
    """What stands in the first fenced code block, without its fences; None if there is none, or none that ends."""
    match = _FENCE.search(text)
    return match[2] if match else None
