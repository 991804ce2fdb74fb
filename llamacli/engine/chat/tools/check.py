"""Tools that the model may call: validation of their parameters."""

from __future__ import annotations

from collections.abc import Sequence

from llamacli.engine.chat.message import Tool
from llamacli.engine.constraint.schema import schema_to_grammar
from llamacli.errors import SchemaError


def check_tools(tools: Sequence[Tool]) -> None:
    """Check that the parameters of tools are JSON schemas that a call can be constrained to.

    Raises:
        SchemaError: if those of a tool are not; the message names it.
    """
    for tool in tools:
        try:
            schema_to_grammar(tool.to_json()["function"]["parameters"])
        except SchemaError as error:
            raise SchemaError(f"the parameters of the tool {tool.name}: {error.message}", hint=error.hint) from error
