"""A JSON schema as a document: resolution of the references in it (RFC 6901, RFC 3986)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote, urljoin

from llamacli.errors import SchemaError

NAMED: Final = frozenset(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"])
"""Keywords whose values map names to schemas."""
DATA: Final = frozenset(["const", "enum", "default", "examples", "example"])
"""Keywords whose values are data."""
_MAX_VALUES = 200_000


class Document:
    """A schema with its identifiers and anchors.

    Raises (when built):
        SchemaError: if the schema is too large.
    """

    def __init__(self, root: Any) -> None:
        self.root = root
        self._resources: dict[str, tuple[Any, str]] = {"": (root, "")}
        self._anchors: dict[tuple[str, str], tuple[Any, str]] = {}
        self._bases: dict[int, str] = {}
        pending, count = [(root, "", "")], 0
        while pending:
            value, pointer, base = pending.pop()
            count += 1
            if count > _MAX_VALUES:
                raise SchemaError(f"the schema has more than {_MAX_VALUES:,} parts")
            if isinstance(value, Mapping):
                base = self._identify(value, pointer, base)
                pending += [(child, path, base) for child, path in _children(value, pointer)]
            elif isinstance(value, list):
                pending += [(child, f"{pointer}/{index}", base) for index, child in enumerate(value)]

    def _identify(self, schema: Mapping[str, Any], pointer: str, base: str) -> str:
        """Index the identifier and the anchors of a schema, and return its base URI."""
        identifier = schema.get("$id")
        if isinstance(identifier, str):
            uri, _, fragment = urljoin(base, identifier).partition("#")
            if uri and not identifier.startswith("#"):
                base = uri
                self._resources.setdefault(uri, (schema, pointer))
            if fragment:  # how draft 6 and 7 write an anchor
                self._anchors.setdefault((base, fragment), (schema, pointer))
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(schema.get(keyword), str):
                self._anchors.setdefault((base, schema[keyword]), (schema, pointer))
        self._bases[id(schema)] = base
        return base

    def resolve(self, reference: Any, schema: Mapping[str, Any], pointer: str) -> tuple[Any, str]:
        """Return the target of a reference in `schema`, which is at `pointer`, and the target's pointer.

        Raises:
            SchemaError: if the target is not in the document.
        """
        if not isinstance(reference, str):
            raise SchemaError(f"at #{pointer}: the reference is not a string")
        base = self._bases.get(id(schema), "")
        uri, _, fragment = reference.partition("#")
        uri = urljoin(base, uri).partition("#")[0] if uri else base
        resource = self._resources.get(uri)
        if resource is None:
            raise SchemaError(
                f"at #{pointer}: the reference {reference!r} leads to another document",
                hint="put the schema that it names in $defs",
            )
        for text in (unquote(fragment), fragment):
            found = self._find(uri, resource, text)
            if found is not None:
                return found
        raise SchemaError(f"at #{pointer}: cannot resolve the reference {reference!r}")

    def _find(self, uri: str, resource: tuple[Any, str], fragment: str) -> tuple[Any, str] | None:
        if fragment and not fragment.startswith("/"):
            return self._anchors.get((uri, fragment))
        target, pointer = resource
        for step in fragment.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping) and name in target:
                target = target[name]
            elif isinstance(target, list) and name.isdecimal() and int(name[:9]) < len(target):
                target = target[int(name)]
            else:
                return None
            pointer += f"/{escaped(name)}"
        return target, pointer


def escaped(name: str) -> str:
    """Return a name as a step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _children(schema: Mapping[str, Any], pointer: str) -> Iterator[tuple[Any, str]]:
    for keyword, value in schema.items():
        path = f"{pointer}/{escaped(keyword)}"
        if keyword in NAMED and isinstance(value, Mapping):
            yield from ((child, f"{path}/{escaped(name)}") for name, child in value.items())
        elif keyword not in DATA and isinstance(value, Mapping | list):
            yield value, path
