"""Conjunctions of schemas: a schema with its references and allOf taken apart into pieces that all apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llamacli.errors import SchemaError
from llamacli.grammar.schema.document import Document, escaped

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_OLD_DRAFTS: Final = ("draft-03", "draft-04", "draft-06", "draft-07")
"""Drafts in which a reference hides the keywords beside it."""
_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")

ANNOTATIONS: Final = frozenset((
    "$schema", "$id", "id", "$comment", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "$defs", "definitions",
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "contentEncoding",
    "contentMediaType", "contentSchema", "discriminator", "xml", "externalDocs", "strict",
))  # fmt: skip
"""Keywords that do not restrict values."""


@dataclass(frozen=True, slots=True)
class Source:
    """A schema, or a part of one without the keywords `without`, and its JSON pointer."""

    schema: Any
    pointer: str
    without: frozenset[str] = frozenset()

    @property
    def key(self) -> tuple[str, frozenset[str]]:
        """The identity of the part within its document."""
        return self.pointer, self.without


@dataclass(frozen=True, slots=True)
class Piece:
    """A schema object without references and allOf. Keywords in `without` were handled before."""

    schema: Mapping[str, Any]
    pointer: str
    without: frozenset[str]

    def get(self, keyword: str) -> Any:
        """Return the value of a keyword, or None."""
        return self.schema.get(keyword) if keyword not in self.without else None

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.schema and keyword not in self.without

    def keywords(self) -> Iterator[str]:
        """Yield the keywords that restrict values."""
        return (key for key in self.schema if key not in ANNOTATIONS and key not in self.without and not key.startswith("x-"))

    def remaining(self, *handled: str) -> Source:
        """Return the piece without keywords that were handled."""
        return Source(self.schema, self.pointer, self.without | {*handled, *_REFERENCES, "allOf"})

    def mapping(self, keyword: str) -> Mapping[str, Any]:
        """Return an object of schemas by name; empty if the keyword is missing."""
        return self._of(keyword, Mapping, "an object") or {}

    def sequence(self, keyword: str) -> Sequence[Any]:
        """Return a list; empty if the keyword is missing."""
        return self._of(keyword, list, "a list") or ()

    def string(self, keyword: str) -> str | None:
        """Return a string, or None."""
        value: str | None = self._of(keyword, str, "a string")
        return value

    def number(self, keyword: str) -> int | float | None:
        """Return a number, or None; false and true are no numbers."""
        value: int | float | None = self._of(keyword, int | float, "a number")
        if isinstance(value, bool):
            raise self.error(keyword, "must be a number")
        return value

    def count(self, keyword: str) -> int | None:
        """Return a number from 0, or None."""
        value = self.number(keyword)
        if value is None:
            return None
        if value < 0 or value != value // 1:
            raise self.error(keyword, "must be a whole number from 0")
        return int(value)

    def types(self) -> tuple[str, ...] | None:
        """Return the types that are allowed, or None for all."""
        given = self.get("type")
        if given is None:
            return None
        names = tuple(given) if isinstance(given, list) else (given,)
        for name in names:
            if name not in _TYPES:
                raise self.error("type", f"has the unknown type {name!r}")
        return names

    def check_order(self, least: str, most: str) -> None:
        """Raise SchemaError if a lower bound is greater than an upper one."""
        low, high = self.get(least), self.get(most)
        are_numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in (low, high))
        if are_numbers and low > high:
            raise self.error(least, f"is greater than {most}")

    def error(self, keyword: str, problem: str) -> SchemaError:
        """Return an error about a keyword."""
        return SchemaError(f"at #{self.pointer}/{escaped(keyword)}: {keyword} {problem}")

    def _of(self, keyword: str, kind: Any, name: str) -> Any:
        value = self.get(keyword)
        if value is not None and not isinstance(value, kind):
            raise self.error(keyword, f"must be {name}")
        return value


def flatten(document: Document, sources: Sequence[Source]) -> list[Piece] | None:
    """Return the pieces of schemas that all apply, without duplicates; None if one of them is `false`.

    Raises:
        SchemaError: if one is not a schema, or refers to itself without end.
    """
    pieces: list[Piece] = []
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = [(source, frozenset[str]()) for source in reversed(sources)]
    while pending:
        source, chain = pending.pop()
        schema, pointer = source.schema, source.pointer
        if schema is True:
            continue
        if schema is False:
            return None
        if not isinstance(schema, Mapping):
            raise SchemaError(f"at #{pointer}: a schema must be an object or a boolean")
        if pointer in chain:
            raise SchemaError(f"at #{pointer}: the schema contains itself, without an end")
        if source.key in seen:
            continue
        seen.add(source.key)
        piece = Piece(schema, pointer, source.without)
        chain |= {pointer}
        references = [keyword for keyword in _REFERENCES if keyword in piece]
        targets = [Source(*document.resolve(schema[keyword], schema, pointer)) for keyword in references]
        if references and _hides_siblings(document):
            pending += [(target, chain) for target in targets]
            continue
        if any(keyword not in _REFERENCES and keyword != "allOf" for keyword in piece.keywords()):
            pieces.append(Piece(schema, pointer, source.without | {*_REFERENCES, "allOf"}))
        parts = [Source(part, f"{pointer}/allOf/{i}") for i, part in enumerate(piece.sequence("allOf"))]
        pending += [(part, chain) for part in reversed([*targets, *parts])]
    return pieces


def _hides_siblings(document: Document) -> bool:
    draft = document.root.get("$schema") if isinstance(document.root, Mapping) else None
    return isinstance(draft, str) and any(name in draft for name in _OLD_DRAFTS)
