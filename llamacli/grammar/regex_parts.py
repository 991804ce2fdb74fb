"""Pieces that a regular expression's grammar is put together from."""

from __future__ import annotations

from dataclasses import dataclass

from llamacli.grammar.nodes import Ranges
from llamacli.grammar.writing import choice

_DIGITS: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = ((0x09, 0x0D), (0x20, 0x20))
SETS = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
"""What a backslash and a letter stand for; the capital letter is all others."""
NAMED = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "a": 7, "0": 0}
"""Characters that a backslash and a letter stand for."""


@dataclass(slots=True)
class Flags:
    """What `(?is)` sets."""

    ignore_case: bool = False
    dot_all: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of grammar.

    `plain`: can be repeated as it is. `empty`: can match nothing. `counted`: holds a bounded repetition. `letters`: it is this
    text. `options`: it is a choice of these.
    """

    text: str
    plain: bool = True
    empty: bool = False
    counted: bool = False
    letters: str | None = None
    options: tuple[Part, ...] = ()


def quantifier(low: int, high: int | None) -> str:
    """The shortest way to write a repetition; none at all for once."""
    known = {(0, None): "*", (1, None): "+", (0, 1): "?", (1, 1): ""}.get((low, high))
    if known is not None:
        return known
    if low == high:
        return f"{{{low}}}"
    return f"{{{low},{'' if high is None else high}}}"


def without_empty(part: Part) -> Part:
    """A choice without its empty alternatives."""
    options = [option for option in part.options if option.text not in ("", '""')]
    return Part(f"({choice([option.text for option in options])})" if options else "", counted=part.counted, empty=part.empty)


def cases_of(code: int) -> list[int]:
    """A character in both cases, where they are single characters."""
    forms = {chr(code), chr(code).lower(), chr(code).upper()}
    return sorted(ord(form) for form in forms if len(form) == 1)


def other_case(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The other case of the ASCII letters in the ranges, and of single other letters."""
    found = []
    for low, high in ranges:
        for first, last, shift in ((0x41, 0x5A, 32), (0x61, 0x7A, -32)):
            if max(low, first) <= min(high, last):
                found.append((max(low, first) + shift, min(high, last) + shift))
        if low == high > 0x7F:
            found += [(ord(form), ord(form)) for form in (chr(low).lower(), chr(low).upper()) if len(form) == 1]
    return found
