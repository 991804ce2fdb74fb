"""JSON schemas as grammars, by llama.cpp's own converter."""

from __future__ import annotations

from typing import Any

from llamacli.binding import bridge


def schema_to_grammar(schema: Any) -> str:
    """The GBNF grammar of a JSON schema.

    Raises:
        SchemaError: the schema is invalid, or has no grammar.
    """
    return bridge.schema_to_grammar(schema)
