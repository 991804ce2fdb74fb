"""Parts of the grammar of a regular expression."""

from __future__ import annotations

from dataclasses import dataclass

from llamacli.grammar.syntax.nodes import Ranges
from llamacli.grammar.syntax.writer import choice

_DIGITS: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = ((0x09, 0x0D), (0x20, 0x20))
SETS = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
"""Character sets of a backslash and a letter; the capital letter is the complement."""
NAMED = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "a": 7, "0": 0}
"""Code points of a backslash and a letter."""


@dataclass(slots=True)
class Flags:
    """The flags that `(?is)` sets."""

    ignore_case: bool = False
    dot_all: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a grammar.

    `plain`: a quantifier can follow `text` without parentheses. `empty`: it can match the empty string. `counted`: it contains
    a bounded repetition. `letters`: it is this literal. `options`: it is a choice of these.
    """

    text: str
    plain: bool = True
    empty: bool = False
    counted: bool = False
    letters: str | None = None
    options: tuple[Part, ...] = ()


def quantifier(low: int, high: int | None) -> str:
    """Return the shortest quantifier of a repetition; the empty string for once."""
    known = {(0, None): "*", (1, None): "+", (0, 1): "?", (1, 1): ""}.get((low, high))
    if known is not None:
        return known
    if low == high:
        return f"{{{low}}}"
    return f"{{{low},{'' if high is None else high}}}"


def without_empty(part: Part) -> Part:
    """Return a choice without its empty alternatives."""
    options = [option for option in part.options if option.text not in ("", '""')]
    return Part(f"({choice([option.text for option in options])})" if options else "", counted=part.counted, empty=part.empty)


def cases_of(code: int) -> list[int]:
    """Return a character in both cases, as far as these are single characters."""
    forms = {chr(code), chr(code).lower(), chr(code).upper()}
    return sorted(ord(form) for form in forms if len(form) == 1)


def other_case(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the other case of the ASCII letters in the ranges, and of other letters that are not in a range."""
    found = []
    for low, high in ranges:
        for first, last, shift in ((0x41, 0x5A, 32), (0x61, 0x7A, -32)):
            if max(low, first) <= min(high, last):
                found.append((max(low, first) + shift, min(high, last) + shift))
        if low == high > 0x7F:
            found += [(ord(form), ord(form)) for form in (chr(low).lower(), chr(low).upper()) if len(form) == 1]
    return found
