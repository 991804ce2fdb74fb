"""JSON schemas in the subset of llama.cpp's converter, which reads the parameters of tools.

It supports neither boolean subschemas nor references other than into `$defs`, and not all patterns. A plain schema may allow
more than the original: arguments are checked against that when a call is complete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.regex.json_string import from_pattern
from llamacli.grammar.schema.document import NAMED, Document, escaped
from llamacli.grammar.schema.expansion import check_expansion

_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE = ("items", "contains", "not", "if", "then", "else", "propertyNames", "additionalProperties")
_DROPPED = ("$defs", "definitions", "$id", "$anchor", "$dynamicAnchor", "$schema")
_SIMPLE = re.compile(r"#/(?:\$defs|definitions)/[A-Za-z0-9_.-]+")


def plain_schema(schema: Any) -> Any:
    """Return an equivalent or wider schema without boolean subschemas, whose references lead into its `$defs`.

    A schema that needs no change is returned as it is, because models see the parameters of their tools.

    Raises:
        SchemaError: if a reference cannot be resolved, or the schema is too large when it is expanded.
    """
    plain = schema if _is_plain(schema) else _Plain(schema).result()
    check_expansion(plain)
    return plain


def _is_plain(schema: Any) -> bool:
    """Return whether a schema has neither boolean subschemas nor unusual references, nor patterns without a grammar."""
    if not isinstance(schema, Mapping):
        return not isinstance(schema, bool)
    if "pattern" in schema and not _has_grammar(schema["pattern"]):
        return False
    reference = schema.get("$ref")
    if reference is not None and not (isinstance(reference, str) and _SIMPLE.fullmatch(reference)):
        return False
    for keyword, value in schema.items():
        if keyword in NAMED and isinstance(value, Mapping):
            children = list(value.values())
        elif keyword in _LISTS and isinstance(value, list):
            children = value
        elif keyword in _SINGLE and (isinstance(value, Mapping) or keyword != "additionalProperties"):
            children = [value]
        else:
            continue
        if not all(map(_is_plain, children)):
            return False
    return True


def _has_grammar(pattern: Any) -> bool:
    """Return whether a pattern has a grammar. llama.cpp's converter makes one of any, which its parser may not survive."""
    try:
        from_pattern(pattern)
    except (GrammarSyntaxError, TypeError):
        return False
    return True


class _Plain:
    """The plain form of one schema."""

    def __init__(self, schema: Any) -> None:
        self._document = Document(schema)
        self._names: dict[str, str] = {}
        self._definitions: dict[str, Any] = {}

    def result(self) -> Any:
        """Return the plain schema with the definitions that it refers to."""
        schema = self._of(self._document.root, "")
        return {**schema, "$defs": self._definitions} if self._definitions else schema

    def _of(self, schema: Any, pointer: str) -> Any:
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        if not isinstance(schema, Mapping):
            return schema
        if "$ref" in schema:
            return {"$ref": f"#/$defs/{self._name_of(schema, pointer)}"}
        plain: dict[str, Any] = {}
        for keyword, value in schema.items():
            path = f"{pointer}/{escaped(keyword)}"
            if keyword in _DROPPED or (keyword == "pattern" and not _has_grammar(value)):
                continue
            if keyword in NAMED and isinstance(value, Mapping):
                plain[keyword] = {name: self._of(child, f"{path}/{escaped(name)}") for name, child in value.items()}
            elif keyword in _LISTS and isinstance(value, list):
                plain[keyword] = [self._of(child, f"{path}/{index}") for index, child in enumerate(value)]
            elif keyword in _SINGLE and isinstance(value, Mapping):
                plain[keyword] = self._of(value, path)
            elif keyword not in _SINGLE or keyword == "additionalProperties":
                plain[keyword] = value  # data; other keywords with a boolean are left to the check of the arguments
        return plain

    def _name_of(self, schema: Mapping[str, Any], pointer: str) -> str:
        target, location = self._document.resolve(schema["$ref"], schema, pointer)
        if location not in self._names:
            name = self._names[location] = f"schema{len(self._names) + 1}"
            self._definitions[name] = self._of(target, location)
        return self._names[location]
