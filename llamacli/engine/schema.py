"""JSON schemas as grammars, by llama.cpp's own converter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from llamacli.binding import bridge
from llamacli.engine.message import Tool
from llamacli.errors import GrammarSyntaxError, SchemaError

_PREAMBLE = re.compile("^JSON schema conversion failed: (?:JSON schema error )?")
"""Of llama.cpp's messages; what follows is often `at #/path: what is wrong`."""


def schema_to_grammar(schema: Any) -> str:
    """The GBNF grammar of a JSON schema, fit for llama.cpp. What of the schema it does not hold, `grammar.keywords` tells.

    Raises:
        SchemaError: the schema is invalid, or has no grammar.
    """
    from llamacli.grammar import check_safe  # only answers under a schema pay for it
    from llamacli.grammar.schemas import Adapted

    try:
        adapted = Adapted(schema)
    except RecursionError:
        raise SchemaError("the schema is nested too deep") from None
    try:
        grammar = adapted.mended(bridge.schema_to_grammar(adapted.schema)[0])
    except SchemaError as error:
        raise SchemaError(_PREAMBLE.sub("", error.message), hint=error.hint) from error
    try:
        check_safe(grammar)
    except GrammarSyntaxError as error:
        raise SchemaError(f"the schema has no grammar that llama.cpp could use: {error.message}") from error
    return grammar


def check_tools(tools: Sequence[Tool]) -> None:
    """Whether the parameters of tools are schemas that calls can be held to.

    Raises:
        SchemaError: those of one are not.
    """
    for tool in tools:
        try:
            bridge.schema_to_grammar(tool.to_json()["function"]["parameters"])
        except SchemaError as error:
            message = _PREAMBLE.sub("", error.message)
            raise SchemaError(f"the parameters of the tool {tool.name}: {message}", hint=error.hint) from error
