r"""Regular expressions as grammars of JSON strings: what a schema's `pattern` allows, written as JSON writes it.

llama.cpp's own converter knows no `\d`, no look anywhere in the text, and writes quotation marks and backslashes as they are,
with which the string would end. JSON's escapes of single letters are in the grammar, those by number only where it needs them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from llamacli.grammar.alphabet import TEXT, common, complement, merged
from llamacli.grammar.nodes import Ranges
from llamacli.grammar.regex import RegexReader
from llamacli.grammar.regex_parts import Part
from llamacli.grammar.writing import char_class, literal

_ESCAPED: Final = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_SPECIAL: Ranges = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F))
"""What is not written as it is; DEL may be, but llama.cpp's strings have none."""


@dataclass(frozen=True, slots=True)
class StringRules:
    """What stands between the quotation marks, and the rules that it needs."""

    body: str
    rules: dict[str, str] = field(default_factory=dict)


def from_pattern(pattern: str, prefix: str = "") -> StringRules:
    """The JSON strings in which a pattern is found; `prefix` begins the names of their rules.

    An alternative beside an anchor is held to both ends: `^a|b$` allows a and b. Raises `GrammarSyntaxError` with the column
    where the pattern has no grammar.
    """
    reader = _Reader(pattern, prefix)
    body = reader.read().text
    anything = f"{reader.characters((), negated=True).text}*"
    parts = [] if reader.starts else [anything]
    parts += [f"({body})"] if body else []
    parts += [] if reader.ends else [anything]
    return StringRules(" ".join(parts) or '""', reader.rules)


class _Reader(RegexReader):
    def characters(self, ranges: Ranges, *, negated: bool = False) -> Part:
        ranges = merged(ranges)
        found = common(complement(ranges) if negated else ranges, TEXT)
        plain = common(found, complement(_SPECIAL))
        escapes = sorted(letter for char, letter in _ESCAPED.items() if common(found, ((ord(char), ord(char)),)))
        options = []
        if plain:
            options.append(char_class(merged((*ranges, *_SPECIAL)), negated=True) if negated else char_class(plain))
        if escapes:
            options.append(f"{literal(chr(92))} {char_class(tuple((ord(letter), ord(letter)) for letter in escapes))}")
        if not options:
            self.fail("a JSON string does not write these characters as they are", back=1)
        return Part(options[0] if len(options) == 1 and plain else f"({' | '.join(options)})")

    def letter(self, char: str) -> Part:
        text = json.dumps(char, ensure_ascii=False)[1:-1]
        return Part(literal(text), letters=text)
