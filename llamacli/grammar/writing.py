"""Writing grammars: literals, classes and rules as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llamacli.grammar.lexemes import escape
from llamacli.grammar.nodes import Ranges


def literal(text: str) -> str:
    """A text in quotes."""
    return '"' + "".join(escape(ord(char)) for char in text) + '"'


def char_class(ranges: Ranges, *, negated: bool = False) -> str:
    """A class in brackets, its ranges as given."""
    parts = []
    for index, (low, high) in enumerate(ranges):
        first = escape(low, "]")
        if index == 0 and not negated and first == "^":
            first = r"\x5E"
        parts.append(first if low == high else first + ("-" if high > low + 1 else "") + escape(high, "]"))
    return f"[{'^' if negated else ''}{''.join(parts)}]"


def rules_text(rules: Mapping[str, str]) -> str:
    """Rules as a grammar, in their order."""
    return "".join(f"{name} ::= {body}\n" for name, body in rules.items())


def choice(options: Sequence[str]) -> str:
    """Alternatives; an empty one is written as an empty literal."""
    return " | ".join(option or '""' for option in options)
