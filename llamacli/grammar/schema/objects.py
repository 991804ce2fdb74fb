"""The shape of objects: properties of several schemas that all apply, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.schema.document import escaped
from llamacli.grammar.schema.pieces import Piece, Source
from llamacli.grammar.schema.rules import Rules
from llamacli.grammar.schema.strings import pattern_body
from llamacli.grammar.schema.values import enumerated

Note = Callable[[Piece, str, str], None]
_ANY = Source(True, "")


@dataclass(slots=True)
class ObjectShape:
    """The schemas of each declared property, the required ones, and the schemas of others (None: no others)."""

    properties: dict[str, tuple[Source, ...]] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    others: tuple[Source, ...] | None = None
    other_name: str | None = None
    most: int | None = None
    is_any: bool = False


def object_shape(rules: Rules, pieces: Sequence[Piece], note: Note) -> ObjectShape | None:
    """Put together the objects that satisfy all pieces; None if there are none."""
    shape = ObjectShape()
    for piece in pieces:
        for name in piece.mapping("properties"):
            shape.properties.setdefault(name, ())
        names = piece.sequence("required") if not isinstance(piece.get("required"), bool) else ()
        for name in names:
            if not isinstance(name, str):
                raise piece.error("required", "must be a list of strings")
            shape.required.add(name)
            shape.properties.setdefault(name, ())
    _restrict_names(shape, pieces, note)
    for name in shape.properties:
        shape.properties[name] = tuple(source for piece in pieces for source in _sources(piece, name, note))
    shape.others = _others(shape, pieces)
    _name_others(rules, shape, pieces, note)
    _count(shape, pieces, note)
    shape.is_any = not shape.properties and shape.others == (_ANY,) and shape.other_name is None and shape.most is None
    return shape if shape.most is None or shape.most >= 0 else None


def _sources(piece: Piece, name: str, note: Note) -> list[Source]:
    """Return the schemas of one piece for a property."""
    declared = piece.mapping("properties")
    found = [Source(declared[name], f"{piece.pointer}/properties/{escaped(name)}")] if name in declared else []
    for pattern, schema in piece.mapping("patternProperties").items():
        if _matches(pattern, name, piece, note):
            found.append(Source(schema, f"{piece.pointer}/patternProperties/{escaped(pattern)}"))
    if not found and "additionalProperties" in piece:
        found = [Source(piece.get("additionalProperties"), f"{piece.pointer}/additionalProperties")]
    return found


def _matches(pattern: str, name: str, piece: Piece, note: Note) -> bool:
    """Return whether a name matches a pattern, in linear time: both are not trusted."""
    from llamacli.grammar.gbnf import parse
    from llamacli.grammar.matcher import Matcher
    from llamacli.grammar.schema.values import json_text

    rules = Rules()
    try:
        rules.set("root", f'"\\"" {pattern_body(rules, pattern)} "\\""')
    except GrammarSyntaxError:
        note(piece, "patternProperties", f"{pattern!r} has no grammar")
        return False
    return Matcher(parse(rules.text())).matches(json_text(name))


def _others(shape: ObjectShape, pieces: Sequence[Piece]) -> tuple[Source, ...] | None:
    """Return the schemas of undeclared properties, which are left out unless a schema asks for them."""
    given = [piece for piece in pieces if "additionalProperties" in piece]
    if any(piece.get("additionalProperties") is False for piece in given):
        return None
    if any("unevaluatedProperties" in piece for piece in pieces) and not given:
        return None
    if given:
        sources = tuple(
            Source(piece.get("additionalProperties"), f"{piece.pointer}/additionalProperties")
            for piece in given
            if piece.get("additionalProperties") is not True
        )
        return sources or (_ANY,)
    return None if shape.properties else (_ANY,)


def _restrict_names(shape: ObjectShape, pieces: Sequence[Piece], note: Note) -> None:
    """Take names that `propertyNames` enumerates for declared ones, and those that it excludes for impossible ones."""
    for piece in pieces:
        names = piece.get("propertyNames")
        values = enumerated([Piece(names, "", frozenset())]) if isinstance(names, Mapping) else None
        if values is not None:
            for value in values:
                if isinstance(value, str):
                    shape.properties.setdefault(value, ())


def _name_others(rules: Rules, shape: ObjectShape, pieces: Sequence[Piece], note: Note) -> None:
    """Apply `propertyNames` and `patternProperties` to the names of undeclared properties."""
    for piece in pieces:
        names: Any = piece.get("propertyNames")
        if names is not None and names is not True and names != {} and names != {"type": "string"}:
            _apply_names(rules, shape, piece, names, note)
        patterns = piece.mapping("patternProperties")
        if not patterns:
            continue
        if len(patterns) == 1 and not shape.properties and shape.other_name is None:
            ((pattern, schema),) = patterns.items()
            try:
                shape.other_name = rules.add("key-pattern", f'"\\"" {pattern_body(rules, pattern)} "\\""')
            except GrammarSyntaxError:
                note(piece, "patternProperties", f"{pattern!r} has no grammar")
                continue
            own = Source(schema, f"{piece.pointer}/patternProperties/{escaped(pattern)}")
            given = [
                one for one in shape.others or () if one != _ANY and not one.pointer.startswith(f"{piece.pointer}/additional")
            ]
            shape.others = (own, *given)
        elif shape.others is not None:
            note(piece, "patternProperties", "undeclared properties are not matched with patterns")


def _apply_names(rules: Rules, shape: ObjectShape, piece: Piece, names: Any, note: Note) -> None:
    if names is False:
        shape.properties, shape.others = {name: (Source(False, ""),) for name in shape.properties}, None
        return
    if not isinstance(names, Mapping):
        raise piece.error("propertyNames", "must be a schema")
    own = Piece(names, f"{piece.pointer}/propertyNames", frozenset())
    values = enumerated([own])
    if values is not None:
        shape.others = None
        for name in shape.properties:
            if name not in values:
                shape.properties[name] = (Source(False, ""),)
        return
    from llamacli.grammar.schema.strings import string_rule

    known = {"type", "pattern", "minLength", "maxLength", "format"}
    if shape.properties or shape.other_name is not None or not known.issuperset(own.keywords()):
        if shape.properties or shape.others is not None:
            note(piece, "propertyNames", "names are not checked beside declared properties")
        return
    body = string_rule(rules, [own], note)
    shape.other_name = rules.add("key", body) if body is not None and body != "string" else None
    shape.others = None if body is None else shape.others


def _count(shape: ObjectShape, pieces: Sequence[Piece], note: Note) -> None:
    for piece in pieces:
        piece.check_order("minProperties", "maxProperties")
        least, most = piece.count("minProperties"), piece.count("maxProperties")
        if least is not None and least > len(shape.required):
            note(piece, "minProperties", "the grammar has no such check")
        if most is None or (shape.others is None and most >= len(shape.properties)):
            continue
        if not shape.properties and most <= 1_000_000:
            shape.most = most if shape.most is None else min(shape.most, most)
        else:
            note(piece, "maxProperties", "the grammar has no such check")
