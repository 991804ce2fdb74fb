"""Parts of the grammar of a regular expression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from llamacli.grammar.program.code import MAX_REPETITION
from llamacli.grammar.syntax.nodes import Ranges
from llamacli.grammar.syntax.writer import choice, literal

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
    a bounded repetition. `letters`: it is this literal. `options`: it is a choice of these. `repeats`: it is this item,
    repeated between these bounds.
    """

    text: str
    plain: bool = True
    empty: bool = False
    counted: bool = False
    letters: str | None = None
    options: tuple[Part, ...] = ()
    repeats: tuple[str, int, int | None] | None = None


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


def joined(parts: Iterable[Part]) -> list[Part]:
    """Join consecutive letters into one literal, and consecutive repetitions of the same item into one repetition.

    `a?a?a` becomes `a{1,3}`: llama.cpp follows the three items in exponentially many ways, but the repetition in one.
    """
    found: list[Part] = []
    for part in parts:
        merged = _merged(found[-1], part) if found else None
        if merged is not None:
            found[-1] = merged
        else:
            found.append(part)
    return [part for run in _runs(found) for part in run]


def _merged(first: Part, second: Part) -> Part | None:
    """Return two repetitions of the same item as one; None if they are not, or if neither has a choice of lengths."""
    one, other = (part.repeats or (part.letters and (literal(part.letters), 1, 1)) for part in (first, second))
    if not one or not other or one[0] != other[0] or (one[1:] == (1, 1) and other[1] == other[2]):
        return None
    low = one[1] + other[1]
    high = None if one[2] is None or other[2] is None else one[2] + other[2]
    if max(low, high or 0) > MAX_REPETITION or one[1] == one[2]:
        return None
    return repetition(one[0], low, high, empty=first.empty and second.empty, counted=first.counted or second.counted)


def repetition(item: str, low: int, high: int | None, *, empty: bool, counted: bool) -> Part:
    """Return the repetition of an item that a quantifier can follow."""
    return Part(
        item + quantifier(low, high),
        plain=False,
        empty=low == 0 or empty,
        counted=(high or low) > 1 or counted,
        repeats=(item, low, high),
    )


def _runs(parts: list[Part]) -> Iterator[list[Part]]:
    for is_text, group in groupby(parts, key=lambda part: part.letters is not None):
        run = list(group)
        if is_text and len(run) > 1:
            letters = "".join(part.letters or "" for part in run)
            run = [Part(literal(letters), letters=letters, plain=False)]
        yield run
