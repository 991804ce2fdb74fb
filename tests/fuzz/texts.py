"""Mutants of grammars, JSON schemas, regular expressions and saved states."""

from __future__ import annotations

import json
import random
from typing import Any

from mutants import alter_bytes

GRAMMARS = (
    'root ::= "yes" | "no"\n',
    'root ::= item+ "."\nitem ::= [a-z]{2,5} ws\nws ::= [ \\t]*\n',
    (
        'root ::= "{" pair ("," pair)* "}"\n'
        'pair ::= "\\"" [^"]* "\\"" ":" value\nvalue ::= [0-9]+ | root | "[" (value ("," value)*)? "]"\n'
    ),
    'root ::= a b?\na ::= [^\\x00-\\x1F]{1,3} | "\\U0001F600"\nb ::= . | ![a] [b]\n# comment\n',
)
GRAMMAR_PIECES = (
    "::=", "|", "(", ")", "*", "+", "?", "{2}", "{0,}", "{1,2000}", "{,3}", "[", "]", "[^]", '"', "\\", "\\x41", "\\u",
    "root", "\n", "#", "a ::= a", '""', "<[5]>", "!", ".", "é", "\x00",
)  # fmt: skip
REGEX_PIECES = (
    "a", "b", "[a-z]", "[^a]", ".", "\\d", "\\w", "\\s", "(", ")", "(?:", "(?=a)", "|", "*", "+", "?", "{2}", "{0,5}",
    "{3,}", "{1,100000}", "^", "$", "\\b", "\\1", "\\x41", "\\u0041", "\\p{L}", "é", "😀", "[", "]", "\\", "(?i)", "a?",
    "(a+)+",
)  # fmt: skip
KEYWORDS = (
    "type", "properties", "items", "required", "enum", "const", "anyOf", "oneOf", "allOf", "not", "$ref", "$defs",
    "pattern", "format", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "multipleOf", "minItems",
    "maxItems", "uniqueItems", "prefixItems", "additionalProperties", "patternProperties", "propertyNames", "contains",
    "if", "then", "else", "$id", "$anchor", "dependentRequired", "title", "default",
)  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 3, 2000, 10**6, 10**30, 1.5, -0.0, 1e308, "", "a", "string", "integer", "object", "array",
    "null", "#", "#/$defs/a", "#/properties/a", "#/$defs/a~1b", "email", "date", "^a+$", "(a+)+$", "é", "a\nb", [], {},
    ["a"], [1, "a", None], ["string", "null"], {"type": "string"}, [{"type": "integer"}, {"$ref": "#"}],
    {"a": {"type": "string"}}, {"a": True, "b": {"type": "array", "items": {"$ref": "#/$defs/a"}}},
)  # fmt: skip


def grammar(chance: random.Random) -> str:
    """A grammar with some pieces more, fewer or in other places."""
    return _pieced(chance.choice(GRAMMARS), GRAMMAR_PIECES, chance)


def regex(chance: random.Random) -> str:
    """A random regular expression, at times with one piece very often."""
    pieces = [chance.choice(REGEX_PIECES) for _ in range(chance.choice((1, 3, 8, 20)))]
    if chance.random() < 0.1:
        pieces.insert(chance.randrange(len(pieces) + 1), chance.choice(REGEX_PIECES) * chance.choice((50, 500, 20_000)))
    return "".join(pieces)


def schema(chance: random.Random) -> str:
    """A random JSON schema as text; one in ten is not even JSON."""
    text = json.dumps(_schema(chance, 0), ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.1:
        return alter_bytes(text.encode(), chance).decode("utf-8", "replace")
    return text


def _schema(chance: random.Random, depth: int) -> Any:
    if chance.random() < 0.1:
        return chance.choice(VALUES)
    made: dict[str, Any] = {}
    for _ in range(chance.choice((1, 2, 3, 5))):
        key = chance.choice(KEYWORDS)
        if depth < 4 and key in ("items", "not", "additionalProperties", "contains", "if", "then", "else", "propertyNames"):
            made[key] = _schema(chance, depth + 1)
        elif depth < 4 and key in ("properties", "$defs", "patternProperties"):
            made[key] = {name: _schema(chance, depth + 1) for name in chance.sample(("a", "b", "a/b", "", "é", "a]b", "^s"), 2)}
        elif depth < 4 and key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            made[key] = [_schema(chance, depth + 1) for _ in range(chance.choice((0, 1, 2, 3)))]
        elif key == "type" and chance.random() < 0.8:
            made[key] = chance.choice(("string", "integer", "number", "object", "array", "boolean", "null"))
        else:
            made[key] = chance.choice(VALUES)
    return made


def _pieced(text: str, pieces: tuple[str, ...], chance: random.Random) -> str:
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        start = chance.randrange(len(text) + 1)
        end = start + chance.choice((0, 1, 2, 8))
        repeats = chance.choice((1, 1, 1, 1, 3, 60))
        text = text[:start] + chance.choice((chance.choice(pieces), text[start:end], "")) * repeats + text[end:]
    return text
