"""Validation of database rows and documents, which other programs or a failing disk may have altered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llamacli.errors import InvalidJSONError
from llamacli.json_text import parse_json

_YEAR_10000 = 253_402_300_800
_MAX_INTEGER = 1 << 63
_MAX_ROW_ID = 1 << 31

Check = Callable[[object], bool]


def is_text(value: object) -> bool:
    """Return whether the value is a string."""
    return isinstance(value, str)


def is_bytes(value: object) -> bool:
    """Return whether the value is a byte string."""
    return isinstance(value, bytes)


def is_integer(value: object) -> bool:
    """Return whether the value is an integer of 63 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_INTEGER


def is_row_id(value: object) -> bool:
    """Return whether the value is a number that tables count with, which leaves room for later rows."""
    return isinstance(value, int) and 0 < value < _MAX_ROW_ID


def is_number(value: object) -> bool:
    """Return whether the value is a finite number."""
    return is_integer(value) or (isinstance(value, float) and abs(value) < float("inf"))


def is_time(value: object) -> bool:
    """Return whether the value is a time in seconds since 1970 that calendars can show."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _YEAR_10000


def optional(check: Check) -> Check:
    """A check that also accepts None."""
    return lambda value: value is None or check(value)


def fits(rows: Sequence[Sequence[object]], *checks: Check) -> bool:
    """Return whether each row has one value for each check, and passes it."""
    return all(len(row) == len(checks) and all(check(one) for check, one in zip(checks, row, strict=True)) for row in rows)


def has_shape(value: object, shape: Any) -> bool:
    """Return whether a document has a shape.

    A shape is a check, a list with the shape of all elements, or a mapping with the shapes of required keys, in which the key
    `*` stands for all others.
    """
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(one, shape[0]) for one in value)
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            return False
        others = [value[key] for key in value if key not in shape] if "*" in shape else []
        required = {key: inner for key, inner in shape.items() if key != "*"}
        return all(key in value and has_shape(value[key], inner) for key, inner in required.items()) and all(
            has_shape(one, shape["*"]) for one in others
        )
    return bool(shape(value))


def parse_object(text: object) -> dict[str, Any] | None:
    """The JSON object in a database cell, None if it is not valid."""
    if not isinstance(text, str):
        return None
    try:
        document = parse_json(text)
    except InvalidJSONError:
        return None
    return document if isinstance(document, dict) else None
