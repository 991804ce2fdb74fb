"""JSON schemas as grammars, by llama.cpp's own converter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from llamacli.binding import bridge
from llamacli.engine.chat.message import Tool
from llamacli.errors import GrammarSyntaxError, SchemaError

_PREAMBLE = re.compile("^JSON schema conversion failed: (?:JSON schema error )?")
"""Of llama.cpp's messages; what follows is often `at #/path: what is wrong`."""

_Part = tuple[list[str | int], Mapping[str, Any]]
"""A schema within another one, and the keys and indexes that lead to it."""

_MOST_TRIES = 500
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "pattern")
_KEYWORDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", *_COUNTS)


def schema_to_grammar(schema: Any) -> str:
    """The GBNF grammar of a JSON schema, fit for llama.cpp. What of the schema it does not hold, `grammar.keywords` tells.

    Raises:
        SchemaError: the schema is invalid, or has no grammar.
    """
    from llamacli.grammar import check_safe  # only answers under a schema pay for it
    from llamacli.grammar.schema.adapter import Adapted

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


def find_fault(schema: Any, message: str) -> list[str | int]:
    """Where in a schema stands what `schema_to_grammar` said of it: keys and indexes from the root.

    llama.cpp often does not tell. So each part is tried by itself: the deepest one of which the same is said has the fault.
    """
    if not isinstance(schema, Mapping):
        return []
    root, path = schema, list[str | int]()
    shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
    tries, followed = iter(range(_MOST_TRIES)), set[str]()
    part: _Part | None = (path, root)
    while part is not None:
        path, schema = part
        target = str(schema.get("$ref"))
        parts = [*_parts(schema, path), *(_referred(root, target) if target not in followed else ())]
        followed.add(target)
        part = next((one for one in parts for _ in islice(tries, 1) if _says({**shared, **one[1]}, message)), None)
    keyword = next((key for key in _KEYWORDS if key in schema and _is_named(key, message)), None)
    return path if keyword is None else [*path, keyword]


def _parts(schema: Mapping[str, Any], path: Sequence[str | int]) -> Iterator[_Part]:
    """The schemas that stand directly in the schema at `path`, with theirs."""
    for key, value in schema.items():
        if key in ("properties", "patternProperties", "$defs", "definitions") and isinstance(value, Mapping):
            inner: Iterable[tuple[list[str | int], Any]] = (([key, name], one) for name, one in value.items())
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems", "items") and isinstance(value, list):
            inner = (([key, i], one) for i, one in enumerate(value))
        else:
            inner = [([key], value)] if key in ("items", "additionalProperties") else []
        yield from (([*path, *steps], one) for steps, one in inner if isinstance(one, Mapping))


def _referred(root: Any, target: str) -> Iterator[_Part]:
    """The schema that a reference within the document leads to, with its path."""
    if target.startswith("#/"):
        steps = [step.replace("~1", "/").replace("~0", "~") for step in target[2:].split("/")]
        for step in steps:
            root = root.get(step) if isinstance(root, Mapping) else None
        if isinstance(root, Mapping):
            yield [*steps], root


def _says(schema: Any, message: str) -> bool:
    try:
        schema_to_grammar(schema)
    except SchemaError as error:
        return error.message == message
    return False


def _is_named(keyword: str, message: str) -> bool:
    """Whether a message is about a keyword: it begins with it, or is about repetitions, which these count."""
    return message.startswith(f"{keyword} ") or ("repetitions" in message and keyword in _COUNTS)


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
