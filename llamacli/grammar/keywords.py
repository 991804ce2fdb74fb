"""Which keywords of a JSON schema llama.cpp's converter does not enforce, and where.

The converter (`common/json-schema.cpp`, `common/json-schema-to-grammar.cpp`) looks at a schema in a fixed order and at the
first thing that it knows; the rest it passes over in silence. Here the same order is walked, noting what is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

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
        elif isinstance(kind, list):
            for name in kind:
                self._typed({**schema, "type": name}, path)
        elif "const" in schema or "enum" in schema:
            keyword = "const" if "const" in schema else "enum"
            self._rest(schema, path, {keyword, "type"}, f"only {keyword} is looked at here")
        else:
            self._typed(schema, path)

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
            self._note(path, "oneOf", "is taken as anyOf: that only one matches is not held to")
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
            for bound in ("Minimum", "Maximum"):
                if kind == "integer" and bound.lower() in schema and f"exclusive{bound}" in schema:
                    self._note(path, f"exclusive{bound}", f"{bound.lower()} beside it wins")

    def _all_of(self, schema: Mapping[str, Any], path: str) -> None:
        self._rest(schema, path, {"allOf", "type"}, "everything beside allOf is passed over")
        for index, child in enumerate(schema["allOf"] if isinstance(schema["allOf"], list) else ()):
            known = isinstance(child, Mapping) and any(
                keyword in child for keyword in ("$ref", "properties", "enum", "anyOf", "oneOf")
            )
            if not known:
                self._note(f"{path}/allOf/{index}", "allOf", "only objects, enumerations and references are put together")
        self._children(schema["allOf"], f"{path}/allOf")

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
        if isinstance(pattern, str):
            reason = _pattern_problem(pattern)
            if reason:
                self._note(path, "pattern", f"{reason}: any string is accepted")
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
    """Why the converter gives a pattern up."""
    if not (pattern.startswith("^") and pattern.endswith("$") and len(pattern) > 1):
        return "it is not anchored with ^ and $"
    inner = pattern[1:-1]
    for match in _pieces(inner):
        piece = match.group()
        if piece.startswith("(?") and piece != "(?:":
            return f"the group {piece} is not known"
        if piece.startswith("\\") and not _KNOWN_ESCAPE.fullmatch(piece):
            return f"the escape {piece} is not known"
        if piece in ("^", "$"):
            return "it has an anchor inside"
        if piece.startswith("["):
            unknown = next((e.group() for e in _ESCAPE.finditer(piece) if not _CLASS_ESCAPE.fullmatch(e.group())), None)
            if unknown:
                return f"the escape {unknown} is not known in a class"
        if piece.startswith("{") and not re.fullmatch(r"\{\d*(,\d*)?\}", piece):
            return f"{piece} is no repetition"
    return None


_ESCAPE = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
_PIECE = re.compile(rf"{_ESCAPE.pattern}|\[(?:{_ESCAPE.pattern}|[^\]\\])*\]|\(\?[^)]?|\{{[^}}]*\}}|.", re.DOTALL)
_CLASS_ESCAPE = re.compile(r'\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[trn\\"\[\]-])')
_KNOWN_ESCAPE = re.compile(rf"{_CLASS_ESCAPE.pattern}|\\[\^$.()|{{}}*+?]")


def _pieces(pattern: str) -> Iterator[re.Match[str]]:
    return _PIECE.finditer(pattern)


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
