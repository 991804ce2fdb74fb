"""From the arguments of completions to the engine's values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamacli.api.grammar import LlamaGrammar
from llamacli.engine.chat.message import choose_tools, read_response_format, read_tools
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.tools.check import check_tools
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.events import Answer, Usage


def constraint_of(grammar: LlamaGrammar | str | None) -> Constraint | None:
    """Return the constraint of a grammar argument."""
    if grammar is None:
        return None
    return (grammar if isinstance(grammar, LlamaGrammar) else LlamaGrammar.from_string(grammar)).constraint()


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaConstraint(Constraint):
    """A constraint with the JSON schema that its grammar is made of: a server may take only that."""

    schema: Any = None


def response_constraint(response_format: Mapping[str, Any] | None) -> Constraint | None:
    """Return the constraint of `response_format`."""
    schema = read_response_format(response_format)
    if schema is None:
        return None
    made = LlamaGrammar.from_json_schema(json.dumps(schema)).constraint()
    return SchemaConstraint(grammar=made.grammar, root=made.root, trusted=made.trusted, schema=schema)


def rendering_of(
    tools: Sequence[Mapping[str, Any]] | None, tool_choice: str | Mapping[str, Any] | None, parallel: bool
) -> Rendering:
    """Return the rendering of tools and their choice."""
    if not tools:
        return Rendering()
    known, choice = choose_tools(read_tools(list(tools)), tool_choice)
    check_tools(known)
    return Rendering(tools=known, tool_choice=choice, parallel_tool_calls=parallel)  # type: ignore[arg-type]


def total_usage(ends: Sequence[Answer]) -> Usage:
    """Return the total token counts of several answers."""
    return Usage(
        sum(end.usage.prompt_tokens for end in ends),
        sum(end.usage.completion_tokens for end in ends),
        sum(end.usage.cached_tokens for end in ends),
        sum(end.usage.restored_tokens for end in ends),
    )
