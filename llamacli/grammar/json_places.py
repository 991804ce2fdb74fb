"""Where in a JSON text a value stands."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def find_value(text: str, path: Sequence[str | int]) -> int:
    """The character offset of the value at `path` (keys and indexes from the root, or the parts of a pointer) in valid JSON.

    Where the path leads nowhere, it is the place of the last value on it.
    """
    at = _skip(text, 0)
    for step in path:
        found = _member(text, at, step)
        if found is None:
            break
        at = found
    return at


def _member(text: str, at: int, step: str | int) -> int | None:
    """Where in the object or array at `at` the member stands; of equal keys the last counts."""
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
