"""JSON that comes from outside: files, rows, requests, models' answers, arguments of tool calls.

A leaf like `errors`: any room may import it. Nesting and the digits of integers are bounded, NaN and the infinities, which
RFC 8259 excludes, are refused, and every fault is located.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from llamacli.errors import InvalidJSONError

MAX_DEPTH = 500
"""Arrays and objects open at once. Python's own limit depends on the caller's depth, and later readers recurse as well."""

MAX_DIGITS = 4300
"""Decimal digits of an integer: Python's default limit, which keeps the conversion from taking quadratic time."""

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_BRACKETS = rf"(?s){_STRING}|[\[\]{{}}]"
_CONSTANTS = rf"(?s){_STRING}|(NaN|-?Infinity)"
_LONG_NUMBERS = rf"(?s){_STRING}|(\d{{{MAX_DIGITS + 1},}})"


def parse_json(text: str | bytes, *, source: str | None = None) -> Any:
    """Parse one JSON document, with or without a byte order mark. `source` names it in messages, such as a file.

    Raises:
        InvalidJSONError: if it is not UTF-8, not JSON, nested more than MAX_DEPTH deep, or has an integer of more than
            MAX_DIGITS digits.
    """
    text = _decode(text, source) if isinstance(text, bytes) else text.removeprefix("\ufeff")
    check_depth(text, source)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at").removesuffix(" starting")
        raise _error(reason[:1].lower() + reason[1:], text, error.pos, source) from None
    except _ConstantError as error:
        raise _error(f"{error} is not a JSON value", text, _find(_CONSTANTS, text), source) from None
    except RecursionError:
        raise _error("nested too deeply", text, 0, source) from None
    except ValueError:  # Python refuses to convert the number
        raise _error(f"an integer has more than {MAX_DIGITS} digits", text, _find(_LONG_NUMBERS, text), source) from None


def _decode(data: bytes, source: str | None) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig")
        raise _error(f"byte 0x{data[error.start]:02x} is not valid UTF-8", before, len(before), source) from None


def check_depth(text: str, source: str | None = None) -> None:
    """Check the nesting of a JSON document. Raises InvalidJSONError as `parse_json`."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in re.finditer(_BRACKETS, text):
        first = match[0][0]
        depth += (first in "[{") - (first in "]}")
        if depth > MAX_DEPTH:
            raise _error(f"nested more than {MAX_DEPTH} deep", text, match.start(), source)


def _find(pattern: str, text: str) -> int:
    """The index of the first match outside strings, or 0."""
    return next((match.start() for match in re.finditer(pattern, text) if match[1]), 0)


def _error(reason: str, text: str, index: int, source: str | None) -> InvalidJSONError:
    line = text.count("\n", 0, index) + 1
    return InvalidJSONError(reason, source=source, line=line, column=index - text.rfind("\n", 0, index), offset=index)


class _ConstantError(Exception):
    """NaN or an infinity, which Python's decoder would accept."""


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
