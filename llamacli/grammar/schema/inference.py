"""Inference of JSON schemas from examples: the narrowest enforceable schema that all examples satisfy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from llamacli.errors import GrammarError

_MAX_DEPTH: Final = 100
_MAX_VALUES: Final = 8
_REPEATED: Final = 3
_FORMATS: Final[tuple[tuple[str, Callable[[str], object]], ...]] = (
    ("date", re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])").fullmatch),
    ("time", re.compile(r"([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]{3})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])").fullmatch),
    (
        "date-time",
        re.compile(
            r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]{3})?"
            r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
        ).fullmatch,
    ),
    ("uuid", re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch),
)
"""Formats as llama.cpp's converter writes them."""


def read_examples(text: str, *, whole: bool = False) -> list[Any]:
    """Parse JSON documents: consecutive ones as in JSON Lines, or one array of examples (with `whole`, an example itself).

    Raises:
        GrammarError: if the text is not valid JSON, or has no examples.
    """
    decoder = json.JSONDecoder()
    found = []
    position = _skip(text, 0)
    try:
        while position < len(text):
            value, position = decoder.raw_decode(text, position)
            found.append(value)
            position = _skip(text, position)
    except json.JSONDecodeError as error:
        raise GrammarError(f"invalid JSON in the examples at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError:
        raise GrammarError("the examples are nested too deep") from None
    if len(found) == 1 and isinstance(found[0], list) and not whole:
        found = found[0]
    if not found:
        raise GrammarError("no examples found")
    return found


def infer_schema(examples: Sequence[Any]) -> dict[str, Any]:
    """Return the schema of the examples.

    Object members in every example are required. Strings become a format if all have it, or an enumeration if few values
    recur.

    Raises:
        GrammarError: if the examples are nested too deep.
    """
    return _schema(list(examples), 0)


def _schema(values: list[Any], depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise GrammarError(f"the examples are nested more than {_MAX_DEPTH} deep")
    kinds: dict[str, list[Any]] = {}
    for value in values:
        kinds.setdefault(_kind(value), []).append(value)
    if "number" in kinds and "integer" in kinds:
        kinds["number"] += kinds.pop("integer")
    schemas = [_SCHEMAS.get(kind, _plain(kind))(members, depth) for kind, members in kinds.items()]
    if not schemas:
        return {}
    if len(schemas) == 1:
        return schemas[0]
    if all(list(schema) == ["type"] for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for kind, types in (("integer", int), ("number", float), ("string", str), ("array", list)):
        if isinstance(value, types):
            return kind
    return "object"


def _object(values: list[dict[str, Any]], depth: int) -> dict[str, Any]:
    names = list(dict.fromkeys(name for value in values for name in value))
    properties = {name: _schema([value[name] for value in values if name in value], depth + 1) for name in names}
    required = [name for name in names if all(name in value for value in values)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _array(values: list[list[Any]], depth: int) -> dict[str, Any]:
    items = [item for value in values for item in value]
    return {"type": "array", "items": _schema(items, depth + 1)} if items else {"type": "array"}


def _string(values: list[str], depth: int) -> dict[str, Any]:
    del depth
    for name, matches in _FORMATS:
        if all(matches(value) for value in values):
            return {"type": "string", "format": name}
    distinct = list(dict.fromkeys(values))
    if len(distinct) <= _MAX_VALUES and len(values) >= _REPEATED * len(distinct) and len(values) > _REPEATED:
        return {"type": "string", "enum": distinct}
    return {"type": "string"}


def _plain(kind: str) -> Callable[[list[Any], int], dict[str, Any]]:
    return lambda values, depth: {"type": kind}


_SCHEMAS: Final[dict[str, Callable[[list[Any], int], dict[str, Any]]]] = {"object": _object, "array": _array, "string": _string}


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n\ufeff":
        position += 1
    return position
