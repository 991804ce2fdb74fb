"""Grammars of JSON strings: patterns, formats and lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.regex.json_string import from_pattern
from llamacli.grammar.schema.formats import GRAMMARS
from llamacli.grammar.schema.pieces import Piece
from llamacli.grammar.schema.repetition import LARGEST_COUNT, repeat
from llamacli.grammar.schema.rules import Rules

Note = Callable[[Piece, str, str], None]
"""Called with the piece, the keyword, and why the grammar does not enforce it."""


def string_rule(rules: Rules, pieces: Sequence[Piece], note: Note) -> str | None:
    """Return the body of a rule for strings, quotation marks included, or None if no string has the right length.

    A pattern wins over a format, and a format over lengths; what is not enforced is noted.
    """
    for piece in pieces:
        piece.check_order("minLength", "maxLength")
    low, high = _lengths(pieces)
    if high is not None and low > high:
        return None
    body = _pattern(rules, pieces, note) or _format(rules, pieces, note)
    if body is not None:
        for piece in pieces:
            for keyword in ("minLength", "maxLength"):
                if keyword in piece and not (keyword == "minLength" and piece.count(keyword) == 0):
                    note(piece, keyword, "another keyword decides about the text")
        return f'"\\"" ({body}) "\\""'
    low, high = _within_limits(pieces, note, low, high)
    if low == 0 and high is None:
        return rules.primitive("string")
    return f'"\\"" {repeat(rules, rules.primitive("char"), low, high)} "\\""'


def _lengths(pieces: Sequence[Piece]) -> tuple[int, int | None]:
    least = [count for piece in pieces if (count := piece.count("minLength")) is not None]
    most = [count for piece in pieces if (count := piece.count("maxLength")) is not None]
    return max(least, default=0), min(most, default=None)


def _within_limits(pieces: Sequence[Piece], note: Note, low: int, high: int | None) -> tuple[int, int | None]:
    for piece in pieces:
        for keyword in ("minLength", "maxLength"):
            if (piece.count(keyword) or 0) > LARGEST_COUNT:
                note(piece, keyword, f"grammars count to {LARGEST_COUNT:,}")
    return min(low, LARGEST_COUNT), high if high is None or high <= LARGEST_COUNT else None


def _pattern(rules: Rules, pieces: Sequence[Piece], note: Note) -> str | None:
    """Return a grammar of the first pattern that has one."""
    body = None
    for piece in pieces:
        pattern = piece.string("pattern")
        if pattern is None:
            continue
        if body is not None:
            note(piece, "pattern", "another pattern decides about the text")
            continue
        try:
            body = pattern_body(rules, pattern)
        except GrammarSyntaxError as error:
            note(piece, "pattern", f"{error.message.partition(': ')[2]}: any string is accepted")
    if body is not None:
        for piece in pieces:
            if piece.string("format") is not None:
                note(piece, "format", "a pattern decides about the text")
    return body


def pattern_body(rules: Rules, pattern: str) -> str:
    """Return a rule for the text of strings that match a pattern.

    Raises:
        GrammarSyntaxError: if it has no grammar.
    """
    found = from_pattern(pattern, rules.prefix("pattern"))
    for name, body in found.rules.items():
        rules.set(name, body)
    return rules.add("pattern", found.body)


def _checked(name: str) -> str:
    """Say whether answers are checked for a format that has no grammar."""
    from llamacli.grammar.schema.formats import is_checked

    return "answers are checked at the end" if is_checked(name) else "it is not checked"


def _format(rules: Rules, pieces: Sequence[Piece], note: Note) -> str | None:
    name = None
    for piece in pieces:
        given = piece.string("format")
        if given is None:
            continue
        if given not in GRAMMARS:
            note(piece, "format", f"{given!r} has no grammar; {_checked(given)}")
        elif name is not None and name != given:
            note(piece, "format", f"{name} decides about the text")
        else:
            name = given
    return rules.add(f"format-{name}", GRAMMARS[name]) if name is not None else None
