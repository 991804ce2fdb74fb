"""Workarounds for errors of llama.cpp's schema converter, in schemas before it and in grammars after it.

Patterns are replaced by our own grammars of regular expressions. One-sided integer bounds, for which the converter allows wrong
values and leading zeros, get the other bound. Schemas `true` become `{}`. Names of additional properties exclude the characters
that would end a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.regex.json_string import StringRules, from_pattern
from llamacli.grammar.syntax.writer import rules_text

LARGEST_INTEGER: Final = 10**16 - 1
"""The largest integer of the converter's grammars, with 16 digits."""
_MAPS: Final = frozenset(["properties", "patternProperties", "$defs", "definitions"])
_DATA: Final = frozenset(["const", "enum", "default", "examples", "required", "type"])
_NAMES = re.compile(r"^(\S*additional-k\d* ::= )(.*)$", re.MULTILINE)


class Adapted:
    """A schema adapted to the converter: convert `schema`, then pass the grammar to `mended`."""

    def __init__(self, schema: Any) -> None:
        self._patterns: dict[str, tuple[str, StringRules] | None] = {}
        self._mark = "pattern"
        text = json.dumps(schema)
        while self._mark in text:
            self._mark += "x"
        self.schema = self._adapted(schema)

    def mended(self, grammar: str) -> str:
        """Return the converter's grammar with its errors corrected."""
        grammar = _NAMES.sub(lambda rule: rule[1] + rule[2].replace('[^"', r'[^"\\\x7F\x00-\x1F'), grammar)
        for found in self._patterns.values():
            if found is not None and f'("{found[0]}")' in grammar:
                mark, rules = found
                grammar = grammar.replace(f'("{mark}")', f"({rules.body})") + rules_text(rules.rules)
        return grammar

    def _adapted(self, schema: Any) -> Any:
        if schema is True:
            return {}
        if isinstance(schema, list):
            return [self._adapted(child) for child in schema]
        if not isinstance(schema, Mapping):
            return schema
        found = {key: self._child(key, value) for key, value in schema.items()}
        if "integer" in (kinds if isinstance(kinds := found.get("type"), list) else [kinds]):
            _close_bounds(found)
        if isinstance(found.get("pattern"), str):
            self._replace_pattern(found)
        return found

    def _child(self, key: str, value: Any) -> Any:
        if key in _MAPS and isinstance(value, Mapping):
            return {name: self._adapted(child) for name, child in value.items()}
        if key in _DATA or (isinstance(value, bool) and key != "items"):
            return value
        return self._adapted(value)

    def _replace_pattern(self, schema: dict[str, Any]) -> None:
        """Replace a pattern by a marker that appears in the grammar; remove it if it has no grammar."""
        pattern = schema.pop("pattern")
        if pattern not in self._patterns:
            mark = f"{self._mark}{len(self._patterns)}"
            try:
                self._patterns[pattern] = mark, from_pattern(pattern, f"{mark}-")
            except GrammarSyntaxError:
                self._patterns[pattern] = None
        found = self._patterns[pattern]
        if found is not None:
            schema["pattern"] = f"^{found[0]}$"
        elif "type" not in schema:
            schema.setdefault("minLength", 0)  # marks the schema as one of strings


def _close_bounds(schema: dict[str, Any]) -> None:
    for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        if isinstance(schema.get(key), int | float) and abs(schema[key]) > LARGEST_INTEGER:
            del schema[key]
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if high is None and isinstance(low, int | float) and low > 9:
        schema["maximum"] = LARGEST_INTEGER
    elif low is None and isinstance(high, int | float) and high <= 0:
        schema["minimum"] = -LARGEST_INTEGER
