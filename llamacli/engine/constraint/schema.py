"""JSON schemas as grammars for the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llamacli.errors import GrammarSyntaxError, SchemaError

if TYPE_CHECKING:
    from llamacli.grammar.schema.converter import Conversion


def convert_schema(schema: Any, *, compact: bool = False) -> Conversion:
    """Convert a JSON schema, which may be wrapped as in OpenAI's requests, to a grammar that llama.cpp supports.

    `compact` allows no blanks and line ends between the parts of a text.

    Raises:
        SchemaError: if the schema is invalid, or has no grammar; the message starts with its location, `at #/…`.
    """
    from llamacli.grammar.gbnf import check_safe  # only answers under a schema pay for it
    from llamacli.grammar.schema.converter import convert
    from llamacli.grammar.schema.wrappers import unwrap

    conversion = convert(unwrap(schema)[0], compact=compact)
    try:
        check_safe(conversion.grammar)
    except GrammarSyntaxError as error:
        raise SchemaError(f"at #: the schema has no grammar that llama.cpp supports: {error.message}") from error
    return conversion


def schema_to_grammar(schema: Any) -> str:
    """Convert a JSON schema to a GBNF grammar: see `convert_schema`."""
    return convert_schema(schema).grammar
