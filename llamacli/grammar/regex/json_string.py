r"""Regular expressions as grammars of JSON strings, for the `pattern` of a schema.

llama.cpp's converter supports neither `\d` nor unanchored patterns, and does not escape quotation marks and backslashes, with
which the string would end. The grammar has JSON's single-letter escapes, and numeric ones only where it needs them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from llamacli.grammar.program.alphabet import TEXT, common, complement, merged
from llamacli.grammar.regex.parts import Part
from llamacli.grammar.regex.reader import RegexReader
from llamacli.grammar.syntax.nodes import Ranges
from llamacli.grammar.syntax.writer import char_class, literal

_ESCAPED: Final = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_SPECIAL: Ranges = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F))
"""Characters that a string does not contain unescaped. JSON allows DEL, but the strings of llama.cpp's grammars do not."""


@dataclass(frozen=True, slots=True)
class StringRules:
    """The grammar between the quotation marks, and the rules that it needs."""

    body: str
    rules: dict[str, str] = field(default_factory=dict)


def from_pattern(pattern: str, prefix: str = "") -> StringRules:
    """Return the grammar of the JSON strings that contain a match; `prefix` begins the names of its rules.

    An anchor applies to all alternatives: `^a|b$` allows a and b.

    Raises:
        GrammarSyntaxError: if the pattern has no grammar; `column` says where.
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
            self.fail("a JSON string cannot contain these characters unescaped", back=1)
        return Part(options[0] if len(options) == 1 and plain else f"({' | '.join(options)})")

    def letter(self, char: str) -> Part:
        text = json.dumps(char, ensure_ascii=False)[1:-1]
        return Part(literal(text), letters=text)
