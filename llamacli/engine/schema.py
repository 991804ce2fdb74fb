"""JSON schemas as grammars, by llama.cpp's own converter."""

from __future__ import annotations

from typing import Any

from llamacli.binding import bridge


def schema_to_grammar(schema: Any) -> tuple[str, str | None]:
    """The GBNF grammar of a JSON schema, and the converter's own warning where it gave a pattern up.

    Raises:
        SchemaError: the schema is invalid, or has no grammar.
    """
    return bridge.schema_to_grammar(schema)
