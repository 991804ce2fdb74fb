"""The rules of a grammar for JSON texts, each under a name of its own. Primitives are those of llama.cpp's converter."""

from __future__ import annotations

import re
from typing import Final

SPACE: Final = r'| " " | "\n"{1,2} [ \t]{0,20}'
_HEX: Final = "[0-9a-fA-F]"
PRIMITIVES: Final = {
    "boolean": '("true" | "false")',
    "null": '"null"',
    "decimal-part": "[0-9]{1,16}",
    "integral-part": "[0] | [1-9] [0-9]{0,15}",
    "number": '("-"? integral-part) ("." decimal-part)? ([eE] [-+]? integral-part)?',
    "integer": '("-"? integral-part)',
    # Unlike llama.cpp's, no escape is half of a surrogate pair, which no text can hold.
    "char": r'[^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" ([0-9a-cA-CefEF] '
    f"{_HEX}{{3}} | [dD] [0-7] {_HEX}{{2}}))",
    "string": r'"\"" char* "\""',
    "value": "object | array | string | number | boolean | null",
    "object": '"{" space ( string ":" space value ("," space string ":" space value)* )? space "}"',
    "array": '"[" space ( value ("," space value)* )? space "]"',
    "space": SPACE,
}
_UNUSABLE = re.compile("[^a-zA-Z0-9-]+")


class Rules:
    """Rules by name, the root first. `compact` leaves no space between the parts of a text."""

    def __init__(self, *, compact: bool = False) -> None:
        self._rules: dict[str, str] = {"root": ""}
        self._primitives = PRIMITIVES | {"space": '""'} if compact else PRIMITIVES

    def primitive(self, name: str) -> str:
        """Return the name of a primitive rule, which is added with those that it needs."""
        if name not in self._rules:
            body = self._rules[name] = self._primitives[name]
            for word in re.findall(r"[a-z][a-z-]*", re.sub(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]', " ", body)):
                self.primitive(word)
        return name

    def reserve(self, name: str) -> str:
        """Return a new name like `name`, whose rule is set later."""
        name = _UNUSABLE.sub("-", name).strip("-") or "x"
        unique, number = name, 0
        while unique in self._rules or unique in PRIMITIVES:
            unique, number = f"{name}-{number}", number + 1
        self._rules[unique] = ""
        return unique

    def prefix(self, name: str) -> str:
        """Return a prefix that no name has, for a group of rules."""
        number = 0
        while any(rule.startswith(f"{name}{number}-") for rule in self._rules):
            number += 1
        return f"{name}{number}-"

    def set(self, name: str, body: str) -> None:
        """Set the rule of a reserved name, or of one with a prefix of its own."""
        self._rules[name] = body

    def add(self, name: str, body: str) -> str:
        """Add a rule, or find it if it was added before, and return its name."""
        if self._rules.get(name) == body:
            return name
        unique = self.reserve(name)
        self._rules[unique] = body
        return unique

    def text(self) -> str:
        """Return the grammar."""
        return "".join(f"{name} ::= {body}\n" for name, body in self._rules.items())
