"""Which keywords of a JSON schema llama.cpp's converter does not enforce, and where.

The converter (`common/json-schema.cpp`, `common/json-schema-to-grammar.cpp`) looks at a schema in a fixed order and at the
first thing that it knows; the rest it passes over in silence. Here the same order is walked, noting what is passed over,
unless it was put right before (`grammar.schemas`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.regex_json import from_pattern
from llamacli.grammar.schemas import LARGEST_INTEGER

_SILENT: Final = frozenset((
    "$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "title", "description", "default", "examples",
    "deprecated", "readOnly", "writeOnly",
))  # fmt: skip
"""Keywords that say nothing about what is valid."""
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
"""Keywords that say nothing about values of another type."""


@dataclass(frozen=True, slots=True)
class NotEnforced:
    """`keyword` at the JSON pointer `path` (of the schema that holds it) has no effect on the grammar, for this reason."""

    path: str
    keyword: str
    reason: str


def not_enforced(schema: Any) -> list[NotEnforced]:
    """Everything in the schema that the grammar will not hold the text to, in the order of a walk from the root."""
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
        """Notes every keyword that is not in `known`."""
        kind = schema.get("type")
        for keyword in schema:
            types = _NOT_FOR_TYPE.get(keyword)
            says_nothing = isinstance(kind, str) and types is not None and kind not in types.split()
            if keyword not in known and keyword not in _SILENT and not keyword.startswith("x-") and not says_nothing:
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
        self._rest(schema, path, {keyword, "type"}, f"only {keyword} is looked at here")
        self._types(schema, path, [schema["const"]] if keyword == "const" else schema["enum"], keyword)

    def _types(self, schema: Mapping[str, Any], path: str, values: list[Any], keyword: str) -> None:
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if kinds and not all(any(_is_of(value, kind) for kind in kinds) for value in values):
            self._note(path, "type", f"{keyword} beside it wins")

    def _reference(self, schema: Mapping[str, Any], path: str) -> None:
        self._rest(schema, path, {"$ref"}, "everything beside $ref is passed over")
        target = schema["$ref"]
        if isinstance(target, str) and target.startswith("#/") and target not in self._seen:
            self._seen.add(target)
            self._pending.append((_resolved(self._root, target), target))

    def _alternatives(self, schema: Mapping[str, Any], path: str) -> None:
        keyword = "oneOf" if "oneOf" in schema else "anyOf"
        self._rest(schema, path, {keyword}, f"everything beside {keyword} is passed over")
        options = schema[keyword]
        if keyword == "oneOf" and isinstance(options, list) and len(options) > 1:
            self._note(path, "oneOf", "it is taken as anyOf, so that more than one may match")
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
            reason = "it needs a type beside it" if kind is None else f"the converter has no such check for {kind}"
            self._rest(schema, path, _CONSTRAINTS.get(str(kind), frozenset()) | {"type"}, reason)
            if kind == "integer":
                self._bounds(schema, path)

    def _bounds(self, schema: Mapping[str, Any], path: str) -> None:
        for bound, sign in (("Minimum", 1), ("Maximum", -1)):
            exclusive = f"exclusive{bound}"
            if bound.lower() in schema and exclusive in schema:
                self._note(path, exclusive, f"{bound.lower()} beside it wins")
            for keyword in (bound.lower(), exclusive):
                if keyword in schema and schema[keyword] * sign > LARGEST_INTEGER:
                    self._note(path, keyword, "the integers of a grammar have at most 16 digits")

    def _all_of(self, schema: Mapping[str, Any], path: str) -> None:
        """Only the properties of objects are put together, all as required, and the values that enumerations share."""
        self._rest(schema, path, {"allOf", "type"}, "everything beside allOf is passed over")
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
        """Why a part of an allOf is not held to; `names` are the properties of those before."""
        other = "only the properties of objects, and values that all enumerations share, are put together"
        if not isinstance(part, Mapping):
            return other
        if "oneOf" in part or "anyOf" in part or isinstance(part.get("type"), list):
            return "what the alternatives have is mixed"
        if "const" in part or "enum" in part or not _is_object(part):
            return other
        if not part.get("properties"):
            return "further properties are not known here"
        own = set(part["properties"])
        again = names & own
        names |= own
        return f"{min(again)!r} is in several parts" if again else None

    def _target(self, schema: Any) -> Any:
        """What a schema refers to in the end, or itself."""
        for _ in range(100):
            if not (isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str)):
                return schema
            schema = _resolved(self._root, schema["$ref"])
        return None

    def _object(self, schema: Mapping[str, Any], path: str) -> None:
        self._rest(schema, path, _CONSTRAINTS["object"] | {"type"}, "the converter has no such check for objects")
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
        reason = "the length follows from the list of items" if is_tuple else "the converter has no such check for arrays"
        self._rest(schema, path, known | {"prefixItems"}, reason)
        if "items" in schema and "prefixItems" in schema:
            self._note(path, "prefixItems", "items beside it wins")
        if is_tuple:
            self._children(schema[keyword], f"{path}/{keyword}")
        else:
            self._pending.append((schema.get(keyword), f"{path}/{keyword}"))

    def _string(self, schema: Mapping[str, Any], path: str) -> None:
        self._rest(schema, path, _CONSTRAINTS["string"] | {"type"}, "the converter has no such check for strings")
        pattern = schema.get("pattern")
        lengths = [keyword for keyword in ("minLength", "maxLength") if keyword in schema]
        form = schema.get("format")
        problem = _pattern_problem(pattern) if isinstance(pattern, str) else None
        if problem is not None:
            self._note(path, "pattern", problem)
        if isinstance(pattern, str) and problem is None:
            for keyword in (*lengths, *(["format"] if form else [])):
                self._note(path, keyword, "pattern beside it wins")
        elif form in _FORMATS:
            for keyword in lengths:
                self._note(path, keyword, "format beside it wins")
        elif form is not None:
            self._note(path, "format", f"{form!r} is not one of date, time, date-time and uuid")

    def _children(self, schemas: Any, path: str) -> None:
        if isinstance(schemas, list):
            self._pending.extend((child, f"{path}/{index}") for index, child in enumerate(schemas))


def _guessed_type(schema: Mapping[str, Any]) -> str | None:
    """What a schema without a type is taken for."""
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
    """Why a pattern has no grammar."""
    try:
        from_pattern(pattern)
    except GrammarSyntaxError as error:
        return f"{error.message.partition(': ')[2]}: any string is accepted"
    return None


def _is_of(value: Any, kind: str) -> bool:
    """Whether a value has a type of JSON schemas."""
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    types: dict[str, Any] = {"null": type(None), "string": str, "array": list, "object": dict, "number": int | float}
    return isinstance(value, types.get(kind, ()))


def _is_object(schema: Mapping[str, Any]) -> bool:
    """Whether the converter takes it for an object, and not for a further allOf."""
    has_properties = "properties" in schema or schema.get("additionalProperties", True) is not True
    return schema.get("type", "object" if has_properties else None) == "object" and (has_properties or "allOf" not in schema)


def _share_values(enumerations: list[Any]) -> bool:
    """Whether some value is in all of them, once."""
    values = [[json.dumps(value) for value in part["enum"]] for part in enumerations]
    return all(len(set(own)) == len(own) for own in values) and bool(set.intersection(*map(set, values)))


def _resolved(root: Any, pointer: str) -> Any:
    """What a reference into the document points to, or None."""
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
