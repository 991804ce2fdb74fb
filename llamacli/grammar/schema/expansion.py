"""The work of llama.cpp's converter on the parameters of a tool, which it copies in places: see `plain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llamacli.errors import SchemaError
from llamacli.grammar.schema.document import NAMED

_MAX_VISITS: Final = 200_000
_MAX_OPTIONAL: Final = 400
"""Optional properties of an object, for which llama.cpp takes cubic time."""
_LISTS: Final = ("anyOf", "oneOf", "prefixItems", "items")
_SINGLE: Final = ("items", "additionalProperties")


def check_expansion(schema: Any) -> None:
    """Check that llama.cpp's converter comes to an end with a plain schema.

    Raises:
        SchemaError: if it would visit too many subschemas, or a reference without an end.
    """
    expansion = _Expansion(schema)
    if expansion.visits() > _MAX_VISITS:
        raise SchemaError("the schema is too large when it is expanded")


class _Expansion:
    """Counts visits. A reference is visited once, but expanded every time in an `allOf`; a list of types copies the schema."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._references: list[str] = []
        self._seen: set[str] = set()
        self._expanded: dict[str, int] = {}
        self._open: set[str] = set()

    def visits(self) -> int:
        """Return the number of visits of the whole schema."""
        count = self._visits(self._root)
        for reference in self._references:  # which grows meanwhile
            count += self._visits(self._target(reference))
        return count

    def _visits(self, schema: Any) -> int:
        if not isinstance(schema, Mapping):
            return 1
        if "$ref" in schema:
            if schema["$ref"] not in self._seen:
                self._seen.add(schema["$ref"])
                self._references.append(schema["$ref"])
            return 1
        _check_properties(schema)
        copies = len(schema["type"]) if isinstance(schema.get("type"), list) else 1
        components = schema.get("allOf")
        parts = sum(map(self._expansion, components)) if isinstance(components, list) else 0
        return 1 + copies * (sum(map(self._visits, _children(schema))) + parts)

    def _expansion(self, component: Any) -> int:
        """Return the visits of a component of an `allOf`."""
        if not isinstance(component, Mapping):
            return 1
        if isinstance(component.get("anyOf"), list):
            return 1 + sum(map(self._expansion, component["anyOf"]))
        reference = component.get("$ref")
        if reference is None:
            return self._visits(component)
        if reference in self._open:
            raise SchemaError(f"the allOf with {reference} contains itself")
        if reference not in self._expanded:
            self._open.add(reference)
            self._expanded[reference] = 1 + self._expansion(self._target(reference))
            self._open.discard(reference)
        return self._expanded[reference]

    def _target(self, reference: str) -> Any:
        _, section, name = reference.split("/", 2)
        definitions = self._root.get(section)
        return definitions.get(name) if isinstance(definitions, Mapping) else None


def _children(schema: Mapping[str, Any]) -> Iterator[Any]:
    for keyword, value in schema.items():
        if keyword in NAMED and keyword not in ("$defs", "definitions") and isinstance(value, Mapping):
            yield from value.values()
        elif keyword in _LISTS and isinstance(value, list):
            yield from value
        elif keyword in _SINGLE and isinstance(value, Mapping):
            yield value


def _check_properties(schema: Mapping[str, Any]) -> None:
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, Mapping):
        needed = len(required) if isinstance(required, list) else 0
        if len(properties) > needed + _MAX_OPTIONAL:
            raise SchemaError(f"an object has more than {_MAX_OPTIONAL} optional properties")
