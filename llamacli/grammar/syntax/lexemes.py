"""Content of literals and character classes: escapes, code points and ranges."""

from __future__ import annotations

import re

from llamacli.grammar.syntax.nodes import Ranges

ESCAPE_HINT = r"known are \n \r \t \\ " + r"\" \[ \] \- \xXX \uXXXX \UXXXXXXXX"
"""Hint that lists llama.cpp's escapes."""

_UNIT = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([trn\\\"\[\]-]))|([^\\])", re.DOTALL)
_NAMED = {"t": 9, "r": 13, "n": 10}


class EscapeError(Exception):
    """An escape unknown to llama.cpp, `index` characters into the content and `length` characters long."""

    def __init__(self, content: str, index: int) -> None:
        self.index = index
        kind = content[index + 1 : index + 2]
        digits = {"x": 2, "u": 4, "U": 8}.get(kind)
        given = content[index + 2 : index + 2 + (digits or 0)]
        self.length = 2 + len(given) - len(given.lstrip("0123456789ABCDEFabcdef"))
        self.message = (
            f"unknown escape {content[index : index + 2]}"
            if digits is None
            else f"the escape \\{kind} needs {digits} hexadecimal digits, but has {self.length - 2}"
        )
        super().__init__(self.message)


def literal_codes(content: str) -> tuple[int, ...]:
    """Return the code points of a literal's content.

    Raises:
        EscapeError: if an escape is unknown.
    """
    if "\\" not in content:
        return tuple(map(ord, content))
    return tuple(code for code, _ in _units(content))


def class_ranges(content: str) -> Ranges:
    """Return the ranges of a class's content, without the `^`.

    A `-` makes a range only between two characters: at the start, at the end, and right after a range it is literal.

    Raises:
        EscapeError: if an escape is unknown.
    """
    units = _units(content)
    ranges = []
    index = 0
    while index < len(units):
        low = high = units[index][0]
        index += 1
        if index + 1 < len(units) and units[index][1]:
            high = units[index + 1][0]
            index += 2
        ranges.append((low, high))
    return tuple(ranges)


def _units(content: str) -> list[tuple[int, bool]]:
    """Return each code point, and whether it is an unescaped `-`."""
    units = []
    position = 0
    while position < len(content):
        match = _UNIT.match(content, position)
        if match is None:
            raise EscapeError(content, position)
        short, medium, long, named, plain = match.groups()
        digits = short or medium or long
        if plain is not None:
            units.append((ord(plain), plain == "-"))
        elif digits is not None:
            units.append((int(digits, 16), False))
        else:
            units.append((_NAMED.get(named) or ord(named), False))
        position = match.end()
    return units


def escape(code: int, inside: str = '"') -> str:
    """Return a code point as text for a literal (`inside` is `"`) or a class (`inside` is `]`)."""
    named = {9: r"\t", 10: r"\n", 13: r"\r", 92: r"\\"}.get(code)
    if named is not None:
        return named
    if inside == '"' and code == ord('"'):
        return r"\""
    if inside == "]" and code in (ord("]"), ord("-"), ord("[")):
        return "\\" + chr(code)
    if code < 0x80 and not chr(code).isprintable():
        return f"\\x{code:02X}"
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF or not chr(code).isprintable():
        return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
    return chr(code)
