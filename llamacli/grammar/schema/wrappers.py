"""The objects in which OpenAI's requests wrap a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_WRAPPER: Final = frozenset(["name", "description", "schema", "strict"])


def unwrap(document: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the schema in a `response_format` or in its `json_schema`, and the keys that lead to it.

    Another document is a schema itself. The wrappers are no sensible schemas: no keyword of theirs restricts values.

    >>> unwrap({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "null"}}})
    ({'type': 'null'}, ('json_schema', 'schema'))
    >>> unwrap({"type": "null"})
    ({'type': 'null'}, ())
    """
    if not isinstance(document, Mapping):
        return document, ()
    if document.get("type") == "json_object" and len(document) == 1:
        return {"type": "object"}, ()
    inner = document.get("json_schema")
    if document.get("type") == "json_schema" and isinstance(inner, Mapping):
        schema, path = unwrap(inner)
        return schema, ("json_schema", *path)
    keys = _WRAPPER | {"type"} if document.get("type") == "json_schema" else _WRAPPER
    if isinstance(document.get("schema"), Mapping | bool) and keys.issuperset(document):
        return document["schema"], ("schema",)
    return document, ()
