"""Writer: literals, classes and rules as GBNF text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llamacli.grammar.syntax.lexemes import escape
from llamacli.grammar.syntax.nodes import Ranges


def literal(text: str) -> str:
    """Return text as a literal."""
    return '"' + "".join(escape(ord(char)) for char in text) + '"'


def char_class(ranges: Ranges, *, negated: bool = False) -> str:
    """Return a class in brackets with the given ranges."""
    parts = []
    for index, (low, high) in enumerate(ranges):
        first = escape(low, "]")
        if index == 0 and not negated and first == "^":
            first = r"\x5E"
        parts.append(first if low == high else first + ("-" if high > low + 1 else "") + escape(high, "]"))
    return f"[{'^' if negated else ''}{''.join(parts)}]"


def rules_text(rules: Mapping[str, str]) -> str:
    """Return rules as a grammar, in order."""
    return "".join(f"{name} ::= {body}\n" for name, body in rules.items())


def choice(options: Sequence[str]) -> str:
    """Return alternatives joined by `|`; an empty one becomes an empty literal."""
    return " | ".join(option or '""' for option in options)
