"""Location of values in JSON text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def find_value(text: str, path: Sequence[str | int]) -> int:
    """Return the character offset of the value at `path` (keys and indexes from the root, or parts of a pointer) in valid JSON.

    For a path that does not exist, return the offset of the last existing value on it.
    """
    at = _skip(text, 0)
    for step in path:
        found = _member(text, at, step)
        if found is None:
            break
        at = found
    return at


def _member(text: str, at: int, step: str | int) -> int | None:
    """Return the offset of a member of the object or array at `at`; of equal keys, that of the last."""
    is_object = text[at] == "{"
    if not is_object and text[at] != "[":
        return None
    found, count = None, 0
    at = _skip(text, at + 1)
    while text[at] not in "}]":
        key: Any = count
        if is_object:
            key, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        if str(key) == str(step):
            found = at
        _, at = _DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
        count += 1
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
