"""Keywords of a JSON schema that llama.cpp's converter does not enforce.

The converter (`common/json-schema.cpp`, `common/json-schema-to-grammar.cpp`) uses the first keyword that it knows in a fixed
order and silently ignores the others. This module follows the same order and reports the ignored keywords, except for those
that `grammar.schema.adapter` handles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.regex.json_string import from_pattern
from llamacli.grammar.schema.adapter import LARGEST_INTEGER

_SILENT: Final = frozenset((
    "$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "title", "description", "default", "examples",
    "deprecated", "readOnly", "writeOnly",
))  # fmt: skip
"""Annotations, which do not constrain values."""
_CONSTRAINTS: Final = {
    "object": frozenset(["properties", "required", "additionalProperties"]),
    "array": frozenset(["items", "prefixItems", "minItems", "maxItems"]),
    "string": frozenset(["pattern", "format", "minLength", "maxLength", "allOf"]),
    "integer": frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
}
_FORMATS: Final = frozenset(["date", "time", "date-time", "uuid", "uuid1", "uuid2", "uuid3", "uuid4", "uuid5"])
_NOT_FOR_TYPE: Final = {
    "minimum": "integer number", "maximum": "integer number", "exclusiveMinimum": "integer number",
    "exclusiveMaximum": "integer number", "multipleOf": "integer number", "minLength": "string", "maxLength": "string",
    "pattern": "string", "format": "string", "items": "array", "prefixItems": "array", "minItems": "array",
    "maxItems": "array", "uniqueItems": "array", "contains": "array", "properties": "object", "required": "object",
    "additionalProperties": "object", "patternProperties": "object", "propertyNames": "object", "minProperties": "object",
    "maxProperties": "object",
}  # fmt: skip
"""Types that a keyword applies to; it has no effect on values of other types."""


@dataclass(frozen=True, slots=True)
class NotEnforced:
    """A keyword without effect on the grammar, in the schema at the JSON pointer `path`."""

    path: str
    keyword: str
    reason: str


def not_enforced(schema: Any) -> list[NotEnforced]:
    """Return the keywords of a schema that its grammar does not enforce, in the order of a walk from the root."""
    walk = _Walk(schema)
    walk.run()
    return walk.found


class _Walk:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._pending: list[tuple[Any, str]] = [(root, "#")]
        self._seen: set[str] = set()
        self.found: list[NotEnforced] = []

    def run(self) -> None:
        while self._pending:
            schema, path = self._pending.pop(0)
            if isinstance(schema, Mapping):
                self._schema(schema, path)

    def _note(self, path: str, keyword: str, reason: str) -> None:
        self.found.append(NotEnforced(path, keyword, reason))

    def _rest(self, schema: Mapping[str, Any], path: str, known: frozenset[str] | set[str], reason: str) -> None:
        """Report every keyword that is not in `known`."""
        kind = schema.get("type")
        for keyword in schema:
            types = _NOT_FOR_TYPE.get(keyword)
            irrelevant = isinstance(kind, str) and types is not None and kind not in types.split()
            if keyword not in known and keyword not in _SILENT and not keyword.startswith("x-") and not irrelevant:
                self._note(path, keyword, reason)

    def _schema(self, schema: Mapping[str, Any], path: str) -> None:
        kind = schema.get("type")
        if "$ref" in schema:
            self._reference(schema, path)
        elif "oneOf" in schema or "anyOf" in schema:
            self._alternatives(schema, path)
        elif "const" in schema or "enum" in schema:
            self._values(schema, path)
        elif isinstance(kind, list):
            for name in kind:
                self._typed({**schema, "type": name}, path)
        else:
            self._typed(schema, path)

    def _values(self, schema: Mapping[str, Any], path: str) -> None:
        keyword = "const" if "const" in schema else "enum"
        self._rest(schema, path, {keyword, "type"}, f"only {keyword} is enforced here")
        self._types(schema, path, [schema["const"]] if keyword == "const" else schema["enum"], keyword)

    def _types(self, schema: Mapping[str, Any], path: str, values: list[Any], keyword: str) -> None:
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if kinds and not all(any(_is_of(value, kind) for kind in kinds) for value in values):
            self._note(path, "type", f"{keyword} takes precedence")

    def _reference(self, schema: Mapping[str, Any], path: str) -> None:
        self._rest(schema, path, {"$ref"}, "only $ref is enforced here")
        target = schema["$ref"]
        if isinstance(target, str) and target.startswith("#/") and target not in self._seen:
            self._seen.add(target)
            self._pending.append((_resolved(self._root, target), target))

    def _alternatives(self, schema: Mapping[str, Any], path: str) -> None:
        keyword = "oneOf" if "oneOf" in schema else "anyOf"
        self._rest(schema, path, {keyword}, f"only {keyword} is enforced here")
        options = schema[keyword]
        if keyword == "oneOf" and isinstance(options, list) and len(options) > 1:
            self._note(path, "oneOf", "it is treated as anyOf: more than one may match")
        self._children(options, f"{path}/{keyword}")

    def _typed(self, schema: Mapping[str, Any], path: str) -> None:
        kind = schema.get("type") or _guessed_type(schema)
        has_properties = "properties" in schema or schema.get("additionalProperties", True) is not True
        if kind == "allOf" or (kind == "string" and "allOf" in schema) or (
            kind == "object" and not has_properties and "allOf" in schema
        ):  # fmt: skip
            self._all_of(schema, path)
        elif kind == "object":
            self._object(schema, path)
        elif kind == "array":
            self._array(schema, path)
        elif kind == "string":
            self._string(schema, path)
        else:
            reason = "it needs a type" if kind is None else f"the converter does not support it for {kind}"
            self._rest(schema, path, _CONSTRAINTS.get(str(kind), frozenset()) | {"type"}, reason)
            if kind == "integer":
                self._bounds(schema, path)

    def _bounds(self, schema: Mapping[str, Any], path: str) -> None:
        for bound, sign in (("Minimum", 1), ("Maximum", -1)):
            exclusive = f"exclusive{bound}"
            if bound.lower() in schema and exclusive in schema:
                self._note(path, exclusive, f"{bound.lower()} takes precedence")
            for keyword in (bound.lower(), exclusive):
                if keyword in schema and schema[keyword] * sign > LARGEST_INTEGER:
                    self._note(path, keyword, "the integers of a grammar have at most 16 digits")

    def _all_of(self, schema: Mapping[str, Any], path: str) -> None:
        """Merge the properties of objects, all as required, and intersect enumerations; the converter does no more."""
        self._rest(schema, path, {"allOf", "type"}, "only allOf is enforced here")
        children = schema["allOf"] if isinstance(schema["allOf"], list) else []
        parts = [self._target(child) for child in children]
        enumerations = [part for part in parts if isinstance(part, Mapping) and "enum" in part and "const" not in part]
        if len(enumerations) == len(parts) and _share_values(parts):
            self._types(schema, path, [value for part in parts for value in part["enum"]], "allOf")
        else:
            self._types(schema, path, [{}], "allOf")
            names: set[str] = set()
            for index, part in enumerate(parts):
                reason = self._not_joined(part, names)
                if reason is not None:
                    self._note(f"{path}/allOf/{index}", "allOf", reason)
        self._children(children, f"{path}/allOf")

    def _not_joined(self, part: Any, names: set[str]) -> str | None:
        """Return why a part of an allOf is not enforced, or None; `names` are the properties of earlier parts."""
        other = "only properties of objects are merged, and enumerations are intersected"
        if not isinstance(part, Mapping):
            return other
        if "oneOf" in part or "anyOf" in part or isinstance(part.get("type"), list):
            return "the alternatives are mixed"
        if "const" in part or "enum" in part or not _is_object(part):
            return other
        if not part.get("properties"):
            return "additional properties are not supported here"
        own = set(part["properties"])
        again = names & own
        names |= own
        return f"{min(again)!r} is in several parts" if again else None

    def _target(self, schema: Any) -> Any:
        """Return the schema at the end of a chain of references, or the schema itself."""
        for _ in range(100):
            if not (isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str)):
                return schema
            schema = _resolved(self._root, schema["$ref"])
        return None

    def _object(self, schema: Mapping[str, Any], path: str) -> None:
        self._rest(schema, path, _CONSTRAINTS["object"] | {"type"}, "the converter does not support it for objects")
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        required = schema.get("required")
        for name in required if isinstance(required, list) else ():
            if name not in properties:
                self._note(path, "required", f"{name!r} is not among the properties")
        for name, child in properties.items():
            self._pending.append((child, f"{path}/properties/{_escaped(name)}"))
        self._pending.append((schema.get("additionalProperties"), f"{path}/additionalProperties"))

    def _array(self, schema: Mapping[str, Any], path: str) -> None:
        keyword = "items" if "items" in schema else "prefixItems"
        is_tuple = isinstance(schema.get(keyword), list)
        known = {keyword, "type"} if is_tuple else {keyword, "type", "minItems", "maxItems"}
        reason = "the list of items fixes the length" if is_tuple else "the converter does not support it for arrays"
        self._rest(schema, path, known | {"prefixItems"}, reason)
        if "items" in schema and "prefixItems" in schema:
            self._note(path, "prefixItems", "items takes precedence")
        if is_tuple:
            self._children(schema[keyword], f"{path}/{keyword}")
        else:
            self._pending.append((schema.get(keyword), f"{path}/{keyword}"))

    def _string(self, schema: Mapping[str, Any], path: str) -> None:
        self._rest(schema, path, _CONSTRAINTS["string"] | {"type"}, "the converter does not support it for strings")
        pattern = schema.get("pattern")
        lengths = [keyword for keyword in ("minLength", "maxLength") if keyword in schema]
        form = schema.get("format")
        problem = _pattern_problem(pattern) if isinstance(pattern, str) else None
        if problem is not None:
            self._note(path, "pattern", problem)
        if isinstance(pattern, str) and problem is None:
            for keyword in (*lengths, *(["format"] if form else [])):
                self._note(path, keyword, "pattern takes precedence")
        elif form in _FORMATS:
            for keyword in lengths:
                self._note(path, keyword, "format takes precedence")
        elif form is not None:
            self._note(path, "format", f"{form!r} is not one of date, time, date-time and uuid")

    def _children(self, schemas: Any, path: str) -> None:
        if isinstance(schemas, list):
            self._pending.extend((child, f"{path}/{index}") for index, child in enumerate(schemas))


def _guessed_type(schema: Mapping[str, Any]) -> str | None:
    """Return the type that the converter infers for a schema without one."""
    if "properties" in schema or schema.get("additionalProperties", True) is not True:
        return "object"
    if "allOf" in schema:
        return "allOf"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if any(keyword in schema for keyword in ("pattern", "minLength", "maxLength")) or schema.get("format") in _FORMATS:
        return "string"
    return None


def _pattern_problem(pattern: str) -> str | None:
    """Return why a pattern has no grammar, or None."""
    try:
        from_pattern(pattern)
    except GrammarSyntaxError as error:
        return f"{error.message.partition(': ')[2]}: any string is accepted"
    return None


def _is_of(value: Any, kind: str) -> bool:
    """Return whether a value is of a type of JSON Schema."""
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types: dict[str, Any] = {"null": type(None), "string": str, "array": list, "object": dict, "number": int | float}
    return isinstance(value, types.get(kind, ()))


def _is_object(schema: Mapping[str, Any]) -> bool:
    """Return whether the converter treats a schema as an object, not as another allOf."""
    has_properties = "properties" in schema or schema.get("additionalProperties", True) is not True
    return schema.get("type", "object" if has_properties else None) == "object" and (has_properties or "allOf" not in schema)


def _share_values(enumerations: list[Any]) -> bool:
    """Return whether the enumerations have a common value, and no duplicates."""
    values = [[json.dumps(value) for value in part["enum"]] for part in enumerations]
    return all(len(set(own)) == len(own) for own in values) and bool(set.intersection(*map(set, values)))


def _resolved(root: Any, pointer: str) -> Any:
    """Return the target of a reference into the document, or None."""
    target = root
    for part in pointer.split("/")[1:]:
        if isinstance(target, Mapping) and part in target:
            target = target[part]
        elif isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        else:
            return None
    return target


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
