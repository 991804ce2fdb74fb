"""JSON schemas as grammars for the engine."""

from __future__ import annotations

from typing import Any

from llamacli.errors import GrammarSyntaxError, SchemaError


def schema_to_grammar(schema: Any) -> str:
    """Convert a JSON schema to a GBNF grammar. `grammar.schema.converter` lists the keywords that it does not enforce.

    Raises:
        SchemaError: if the schema is invalid, or has no grammar; the message starts with its location, `at #/…`.
    """
    from llamacli.grammar import check_safe  # only answers under a schema pay for it
    from llamacli.grammar.schema.converter import convert

    grammar = convert(schema).grammar
    try:
        check_safe(grammar)
    except GrammarSyntaxError as error:
        raise SchemaError(f"at #: the schema has no grammar that llama.cpp supports: {error.message}") from error
    return grammar
