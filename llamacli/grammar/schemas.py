"""Schemas as llama.cpp's converter gets them right, and its grammars where it does not.

What is put right: patterns, which our own grammars of regular expressions take the place of; bounds of integers that are open
to one side, of which it lets too much through when they hold a zero, or with leading zeros; schemas that are just `true`; and
the names of further properties, in which it allows what ends a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.regex_json import StringRules, from_pattern
from llamacli.grammar.writing import rules_text

LARGEST_INTEGER: Final = 10**16 - 1
"""The converter's integers have at most this many digits."""
_MAPS: Final = frozenset(["properties", "patternProperties", "$defs", "definitions"])
_DATA: Final = frozenset(["const", "enum", "default", "examples", "required", "type"])
_NAMES = re.compile(r"^(\S*additional-k\d* ::= )(.*)$", re.MULTILINE)


class Adapted:
    """A schema on its way through the converter: give it `schema`, and the grammar that it makes to `mended`."""

    def __init__(self, schema: Any) -> None:
        self._patterns: dict[str, tuple[str, StringRules] | None] = {}
        self._mark = "pattern"
        text = json.dumps(schema)
        while self._mark in text:
            self._mark += "x"
        self.schema = self._adapted(schema)

    def mended(self, grammar: str) -> str:
        """The converter's grammar with what it does not get right put in its place."""
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
        """A text that is found again in the grammar; nothing, where the pattern has no grammar: any string then."""
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
            schema.setdefault("minLength", 0)  # from which the converter, too, sees that this is about strings


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
