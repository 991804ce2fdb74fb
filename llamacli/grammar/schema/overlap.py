"""Overlap of the alternatives of a oneOf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from llamacli.errors import SchemaError
from llamacli.grammar.schema.document import Document
from llamacli.grammar.schema.pieces import Piece, Source, flatten
from llamacli.grammar.schema.values import enumerated, json_key

_MOST_ALTERNATIVES = 300


@dataclass(slots=True)
class _Outline:
    """Outline of the values of a schema: types, enumerated values, and those of required properties."""

    types: frozenset[str] | None = None
    values: frozenset[str] | None = None
    tags: dict[str, frozenset[str]] = field(default_factory=dict)


def may_overlap(document: Document, alternatives: Sequence[tuple[Source, ...]]) -> bool:
    """Return whether two of the alternatives may match the same value; when in doubt, they may."""
    if len(alternatives) > _MOST_ALTERNATIVES:
        return True
    outlines = [outline for sources in alternatives if (outline := _outline(document, sources)) is not None]
    return any(not _exclude(first, second) for first, second in combinations(outlines, 2))


def _outline(document: Document, sources: tuple[Source, ...]) -> _Outline | None:
    """Return the outline of schemas that all apply; None if nothing satisfies them."""
    pieces = flatten(document, sources)
    if pieces is None:
        return None
    outline = _Outline()
    values = enumerated(pieces)
    if values is not None:
        outline.values = frozenset(map(json_key, values))
    for piece in pieces:
        types = piece.types()
        if types is not None:
            own = frozenset("number" if kind == "integer" else kind for kind in types)
            outline.types = own if outline.types is None else outline.types & own
    required = {name for piece in pieces if isinstance(piece.get("required"), list) for name in piece.sequence("required")}
    for piece in pieces:
        for name, schema in piece.mapping("properties").items():
            if name in required and isinstance(schema, Mapping):
                found = _values(document, schema, piece, name)
                if found is not None:
                    outline.tags[name] = found
    return outline


def _values(document: Document, schema: Mapping[str, object], piece: Piece, name: str) -> frozenset[str] | None:
    try:
        pieces = flatten(document, (Source(schema, f"{piece.pointer}/properties/{name}"),))
    except SchemaError:
        return None
    values = enumerated(pieces or [])
    return None if values is None else frozenset(map(json_key, values))


def _exclude(first: _Outline, second: _Outline) -> bool:
    if first.types is not None and second.types is not None and not first.types & second.types:
        return True
    if first.values is not None and second.values is not None and not first.values & second.values:
        return True
    if not all(outline.types == frozenset(["object"]) or outline.tags for outline in (first, second)):
        return False
    return any(not values & second.tags[name] for name, values in first.tags.items() if name in second.tags)
