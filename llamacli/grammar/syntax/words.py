"""Descriptions of characters, classes and items of a grammar, for messages and explanations."""

from __future__ import annotations

import unicodedata

from llamacli.grammar.syntax.nodes import (
    AnyChar,
    AnyNode,
    CharClass,
    Choice,
    Group,
    Literal,
    Ranges,
    Repeat,
    RuleReference,
    Sequence,
    TokenReference,
)

_NAMES = {
    0x09: "a tab",
    0x0A: "a line feed",
    0x0D: "a carriage return",
    0x20: "a space",
    0x22: "a double quote",
    0x27: "an apostrophe",
    0x5C: "a backslash",
    0x60: "a backquote",
    0xA0: "a no-break space",
}
_RANGES = {
    (0x30, 0x39): "a digit",
    (0x61, 0x7A): "a letter a-z",
    (0x41, 0x5A): "a letter A-Z",
    (0x00, 0x1F): "a control character",
    (0x01, 0x1F): "a control character",
}
_MANY = 40


def character(code: int) -> str:
    """Describe a character: quoted if visible, else by name or number."""
    if code in _NAMES:
        return _NAMES[code]
    if 0x20 < code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF and chr(code).isprintable():
        return f'"{chr(code)}"'
    name = unicodedata.name(chr(code), "").lower() if code <= 0x10FFFF else ""
    return f"U+{code:04X}" + (f" ({name})" if name else "")


def quoted(codes: tuple[int, ...] | str) -> str:
    """Return text in quotes on one line, with long text cut in the middle."""
    points = tuple(map(ord, codes)) if isinstance(codes, str) else codes
    shown = [_inside_quotes(code) for code in points]
    if len(shown) > _MANY:
        shown[_MANY - 10 : -8] = ["…"]
    return '"' + "".join(shown) + '"'


def characters(ranges: Ranges, *, negated: bool) -> str:
    """Describe a character class."""
    if not ranges:
        return "any character" if negated else "nothing"
    sound = [pair for pair in ranges if pair[0] <= pair[1]]
    if not negated and (0, 0x10FFFF) in sound:
        return "any character"
    singles = [low for low, high in sound if low == high]
    spans = [_span(pair) for pair in sound if pair[0] != pair[1]]
    parts = spans + [character(code) for code in singles]
    listed = _joined(parts) if parts else "nothing"
    if negated:
        return f"any character except {listed}"
    return f"one of {listed}" if len(parts) > 1 else listed


def item(node: AnyNode) -> str:
    """Describe a node without its children."""
    match node:
        case Literal():
            return quoted(node.codes) if node.codes else "nothing"
        case CharClass():
            return characters(node.ranges, negated=node.negated) if node.ranges else "nothing"
        case AnyChar():
            return "any character"
        case TokenReference():
            return f"any token but {node.text}" if node.negated else f"the token {node.text}"
        case RuleReference():
            return node.name
    return "a group"


def in_words(node: AnyNode, below: list[str]) -> str:
    """Describe a node, given the descriptions of its children; for `nodes.fold`."""
    match node:
        case Sequence():
            return ", then ".join(below) or "nothing"
        case Choice():
            if len(below) == 1:
                return below[0]
            return "either " + " or ".join(f"({part})" if ", then " in part else part for part in below)
        case Group():
            return f"({below[0]})" if ", then " in below[0] or below[0].startswith("either ") else below[0]
        case Repeat():
            return f"{times(node.minimum, node.maximum)} {below[0]}"
    return item(node)


def times(minimum: int, maximum: int | None) -> str:
    """Describe the bounds of a repetition."""
    if maximum is None:
        return {0: "any number of", 1: "one or more of"}.get(minimum, f"{minimum:,} times or more")
    if minimum == maximum:
        return {0: "none of", 1: "once"}.get(minimum, f"{minimum:,} times")
    if minimum == 0:
        return "optionally" if maximum == 1 else f"up to {maximum:,} times"
    return f"{minimum:,} to {maximum:,} times"


def _inside_quotes(code: int) -> str:
    escaped = {9: r"\t", 10: r"\n", 13: r"\r", 0x22: r"\"", 0x5C: r"\\"}.get(code)
    if escaped:
        return escaped
    if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF and chr(code).isprintable():
        return chr(code)
    return f"<U+{code:04X}>"


def _span(pair: tuple[int, int]) -> str:
    name = _RANGES.get(pair)
    if name:
        return name
    low, high = (character(code) for code in pair)
    return f"{low} to {high}"


def _joined(parts: list[str]) -> str:
    if len(parts) > 12:
        parts = [*parts[:11], f"{len(parts) - 11} more"]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " or " + parts[-1]
