"""Values that schemas enumerate, and values as JSON Schema compares them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from llamacli.errors import SchemaError
from llamacli.grammar.schema.pieces import Piece

_CHECKED = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems",
    "maxItems", "required", "minProperties", "maxProperties", "uniqueItems",
)  # fmt: skip
"""Keywords that decide about a value without another schema, and without a regular expression."""


def enumerated(pieces: Sequence[Piece]) -> list[Any] | None:
    """Return the values that all const and enum among the pieces allow; None if there is no such keyword."""
    lists = []
    for piece in pieces:
        if "const" in piece:
            lists.append([piece.get("const")])
        if "enum" in piece:
            lists.append(list(piece.sequence("enum")))
    if not lists:
        return None
    shared = set.intersection(*({json_key(value) for value in values} for values in lists))
    unique = {json_key(value): value for value in lists[0]}
    return [value for key, value in unique.items() if key in shared and _is_allowed(value, pieces)]


def checked_keywords() -> tuple[str, ...]:
    """Return the keywords that `enumerated` checks values against."""
    return ("type", "const", "enum", *_CHECKED)


def json_key(value: Any) -> str:
    """Return a text that is the same for values that JSON Schema regards as equal."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def json_text(value: Any) -> str:
    """Return a value as JSON, readable where UTF-8 can be."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


def is_of_type(value: Any, kinds: Iterable[str]) -> bool:
    """Return whether a value has one of the types of JSON Schema."""
    return any(_is_of(value, kind) for kind in kinds)


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types: dict[str, Any] = {"null": type(None), "string": str, "array": list, "object": dict, "number": int | float}
    return isinstance(value, types.get(kind, ()))


def _fault_of(schema: dict[str, Any]) -> str:
    """Return what is wrong with the value of a keyword."""
    import jsonschema

    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA).iter_errors(schema)
    )
    return (
        "a keyword has a value of the wrong type" if error is None else f"{error.json_path.removeprefix('$.')}: {error.message}"
    )


def _is_allowed(value: Any, pieces: Sequence[Piece]) -> bool:
    for piece in pieces:
        types = piece.types()
        if types is not None and not is_of_type(value, types):
            return False
        rest = {keyword: piece.get(keyword) for keyword in _CHECKED if keyword in piece}
        if rest:
            import jsonschema  # only enumerations beside other keywords pay for it

            try:
                is_valid = jsonschema.Draft202012Validator(rest).is_valid(value)
            except TypeError as error:  # of a keyword's value: it compares what it is given
                wrong = _fault_of(rest)
                raise SchemaError(f"the schema is invalid at #{piece.pointer}: {wrong}") from error
            if not is_valid:
                return False
    return True
