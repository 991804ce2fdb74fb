"""Conversion of JSON schemas to grammars, with llama.cpp's converter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from llamacli.binding import bridge
from llamacli.errors import GrammarSyntaxError, SchemaError

_PREAMBLE = re.compile("^JSON schema conversion failed: (?:JSON schema error )?")
"""The start of llama.cpp's messages, often followed by `at #/path: …`."""

_Part = tuple[list[str | int], Mapping[str, Any]]
"""The keys and indexes that lead to a subschema, and the subschema."""

_MOST_TRIES = 500
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "pattern")
_KEYWORDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", *_COUNTS)


def schema_to_grammar(schema: Any) -> str:
    """Convert a JSON schema to a GBNF grammar. `grammar.keywords` lists the parts of the schema that it does not enforce.

    Raises:
        SchemaError: if the schema is invalid, or has no grammar.
    """
    from llamacli.grammar import check_safe  # only answers under a schema pay for it
    from llamacli.grammar.schema.adapter import Adapted

    try:
        adapted = Adapted(schema)
    except RecursionError:
        raise SchemaError("the schema is nested too deeply") from None
    try:
        grammar = adapted.mended(bridge.schema_to_grammar(adapted.schema)[0])
    except SchemaError as error:
        raise SchemaError(_PREAMBLE.sub("", error.message), hint=error.hint) from error
    try:
        check_safe(grammar)
    except GrammarSyntaxError as error:
        raise SchemaError(f"the schema has no grammar that llama.cpp supports: {error.message}") from error
    return grammar


def find_fault(schema: Any, message: str) -> list[str | int]:
    """Locate the fault that `schema_to_grammar` reported: the keys and indexes from the root to it.

    llama.cpp often does not report a location. So each subschema is converted alone: the fault is in the deepest one
    with the same message.
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
        part = next((one for one in parts for _ in islice(tries, 1) if _reports({**shared, **one[1]}, message)), None)
    keyword = next((key for key in _KEYWORDS if key in schema and _is_named(key, message)), None)
    return path if keyword is None else [*path, keyword]


def _parts(schema: Mapping[str, Any], path: Sequence[str | int]) -> Iterator[_Part]:
    """Yield the direct subschemas of the schema at `path`, with their paths."""
    for key, value in schema.items():
        if key in ("properties", "patternProperties", "$defs", "definitions") and isinstance(value, Mapping):
            inner: Iterable[tuple[list[str | int], Any]] = (([key, name], one) for name, one in value.items())
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems", "items") and isinstance(value, list):
            inner = (([key, i], one) for i, one in enumerate(value))
        else:
            inner = [([key], value)] if key in ("items", "additionalProperties") else []
        yield from (([*path, *steps], one) for steps, one in inner if isinstance(one, Mapping))


def _referred(root: Any, target: str) -> Iterator[_Part]:
    """Yield the target of a reference within the document, with its path."""
    if target.startswith("#/"):
        steps = [step.replace("~1", "/").replace("~0", "~") for step in target[2:].split("/")]
        for step in steps:
            root = root.get(step) if isinstance(root, Mapping) else None
        if isinstance(root, Mapping):
            yield [*steps], root


def _reports(schema: Any, message: str) -> bool:
    try:
        schema_to_grammar(schema)
    except SchemaError as error:
        return error.message == message
    return False


def _is_named(keyword: str, message: str) -> bool:
    """Return whether a message is about a keyword: it starts with the keyword, or is about the repetitions that it counts."""
    return message.startswith(f"{keyword} ") or ("repetitions" in message and keyword in _COUNTS)
