"""Conversion of JSON schemas to GBNF grammars.

A grammar may allow less than its schema (properties have a fixed order, undeclared ones appear only if the schema asks for
them), but nothing else; keywords that it does not enforce are listed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from llamacli.errors import SchemaError
from llamacli.grammar.schema.arrays import array_shape
from llamacli.grammar.schema.document import Document
from llamacli.grammar.schema.nodes import Array, Choice, Emitter, Node, Object, Property, Text
from llamacli.grammar.schema.not_enforced import NotEnforced
from llamacli.grammar.schema.numbers import MAX_DIGITS, Bound, integer_range, number_range
from llamacli.grammar.schema.objects import object_shape
from llamacli.grammar.schema.overlap import may_overlap
from llamacli.grammar.schema.pieces import Piece, Source, flatten
from llamacli.grammar.schema.rules import Rules
from llamacli.grammar.schema.strings import string_rule
from llamacli.grammar.schema.values import checked_keywords, enumerated, json_text
from llamacli.grammar.syntax.writer import choice, literal

_MAX_BYTES: Final = 1 << 20
_MAX_NODES: Final = 20_000
_GUESSES: Final = {
    "object": ("properties", "required", "patternProperties", "propertyNames", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "contains", "uniqueItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""Keywords that tell the type of values where the schema does not."""
_HANDLED: Final = {
    "object": {
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
        "maxProperties", "unevaluatedProperties",
    },
    "array": {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "unevaluatedItems"},
    "string": {"pattern", "minLength", "maxLength", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
}  # fmt: skip
_ABOUT: Final = {
    "object": {*_HANDLED["object"], "dependentRequired", "dependentSchemas", "dependencies"},
    "array": {*_HANDLED["array"], "contains", "minContains", "maxContains", "uniqueItems"},
    "string": _HANDLED["string"],
    "number": {*_HANDLED["number"], "multipleOf"},
    "integer": {*_HANDLED["number"], "multipleOf"},
}
"""Keywords that restrict values of one type only."""
_SPECIFIC: Final = frozenset().union(*_ABOUT.values())
_HARMLESS: Final = {"uniqueItems": (False,), "not": (False,), "contains": (), "dependentRequired": ({},), "minContains": (0,)}
_SILENT_ALONE: Final = {"then": "if", "else": "if", "minContains": "contains", "maxContains": "contains"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A grammar, and what it does not enforce."""

    grammar: str
    not_enforced: tuple[NotEnforced, ...]


def convert(schema: Any, *, compact: bool = False) -> Conversion:
    """Convert a JSON schema to a grammar. `compact` allows no blanks and line ends between the parts of a text.

    Raises:
        SchemaError: if the schema is invalid or too large, or allows no value.
    """
    try:
        size = len(json.dumps(schema))
    except RecursionError:
        raise SchemaError("the schema is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise SchemaError(f"the schema is not JSON: {error}") from error
    if size > _MAX_BYTES:
        raise SchemaError("the schema is longer than 1 MiB")
    converter = _Converter(schema, compact)
    return Conversion(converter.run(), tuple(converter.found))


class _Converter:
    def __init__(self, schema: Any, compact: bool) -> None:
        self._document = Document(schema)
        self._rules = Rules(compact=compact)
        self._nodes: dict[int, Node] = {}
        self._names: dict[int, str] = {}
        self._numbers: dict[Any, int] = {}
        self._pending: list[tuple[int, tuple[Source, ...], str | None]] = []
        self.found: list[NotEnforced] = []

    def run(self) -> str:
        root = self._node((Source(self._document.root, ""),), "")
        for number, sources, kind in iter(self._next, None):
            self._nodes[number] = self._made(sources, kind, self._names[number])
        emitter = Emitter(self._rules, self._nodes, self._names)
        if not emitter.is_possible(root):
            raise SchemaError("at #: no JSON value satisfies the schema")
        emitter.write(root)
        return self._rules.text()

    def _next(self) -> tuple[int, tuple[Source, ...], str | None] | None:
        return self._pending.pop(0) if self._pending else None

    def _node(self, sources: tuple[Source, ...], name: str, kind: str | None = None) -> int:
        """Return the number of the node for schemas that all apply, of one type or of all; it is made later."""
        key = tuple(dict.fromkeys(_key(source) for source in sources)), kind
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            if number >= _MAX_NODES:
                raise SchemaError("the schema is too large when it is written out")
            self._names[number] = name
            self._pending.append((number, sources, kind))
        return number

    def _made(self, sources: tuple[Source, ...], kind: str | None, name: str) -> Node:
        pieces = flatten(self._document, sources)
        if pieces is None:
            return Choice(())
        if kind is not None:
            return self._typed(pieces, kind, name)
        for piece in pieces:
            for keyword in ("oneOf", "anyOf"):
                if keyword in piece:
                    return self._alternatives(pieces, piece, keyword, name)
        values = enumerated(pieces)
        if values is not None:
            for piece in pieces:
                self._note_unknown(piece, checked_keywords())
            return Text(f"({choice([literal(json_text(value)) for value in values])})") if values else Choice(())
        kinds = _types(pieces)
        if not kinds:
            return Choice(())
        if len(kinds) == 1:
            return self._typed(pieces, kinds[0], name)
        remaining = tuple(piece.remaining() for piece in pieces)
        return Choice(tuple(self._node(remaining, f"{name}-{i}", one) for i, one in enumerate(kinds)))

    def _alternatives(self, pieces: list[Piece], piece: Piece, keyword: str, name: str) -> Node:
        rest = tuple(
            other.remaining(keyword) if other is piece else other.remaining()
            for other in pieces
            if other is not piece or any(key != keyword for key in piece.keywords())
        )
        options = [Source(one, f"{piece.pointer}/{keyword}/{i}") for i, one in enumerate(piece.sequence(keyword))]
        discriminator = piece.schema.get("discriminator")
        tag = discriminator.get("propertyName") if isinstance(discriminator, Mapping) else None
        # An object is known by its tag only if it has one.
        tagged = (Source({"required": [tag]}, f"{piece.pointer}/discriminator"),) if isinstance(tag, str) else ()
        if keyword == "oneOf" and may_overlap(self._document, [(*rest, *tagged, option) for option in options]):
            self._note(piece, keyword, "more than one alternative may match")
        label = f"{name}-" if name else "alternative-"
        return Choice(tuple(self._node((*rest, *tagged, one), f"{label}{i}") for i, one in enumerate(options)))

    def _typed(self, pieces: list[Piece], kind: str, name: str) -> Node:
        for piece in pieces:
            self._note_unknown(piece, ("type", *_HANDLED.get(kind, ())), kind)
        if kind == "object":
            return self._object(pieces, name)
        if kind == "array":
            return self._array(pieces, name)
        if kind == "string":
            body = string_rule(self._rules, pieces, self._note)
            return Choice(()) if body is None else Text(body)
        if kind in ("integer", "number"):
            return self._number(pieces, kind)
        return Text(kind)

    def _number(self, pieces: list[Piece], kind: str) -> Node:
        for piece in pieces:
            for least in ("minimum", "exclusiveMinimum"):
                for most in ("maximum", "exclusiveMaximum"):
                    piece.check_order(least, most)
        low, high = (self._bound(pieces, *keywords) for keywords in (("minimum", "Minimum"), ("maximum", "Maximum")))
        if low is None and high is None:
            return Text(kind)
        body = (integer_range if kind == "integer" else number_range)(low, high)
        return Choice(()) if body is None else Text(f"({body})")

    def _bound(self, pieces: list[Piece], keyword: str, capital: str) -> Bound | None:
        """Return the tightest bound on one side, exclusive ones included, also as draft 4 writes them."""
        sign, found = 1 if keyword == "minimum" else -1, []
        for piece in pieces:
            exclusive = piece.get(f"exclusive{capital}")
            for name, value, strict in (
                (keyword, piece.number(keyword), exclusive is True),
                (f"exclusive{capital}", None if isinstance(exclusive, bool) else piece.number(f"exclusive{capital}"), True),
            ):
                if value is None:
                    continue
                number = Decimal(str(value))
                if number * sign > Decimal(10) ** MAX_DIGITS:
                    self._note(piece, name, f"the numbers of a grammar have at most {MAX_DIGITS} digits")
                elif number * sign >= -(Decimal(10) ** 16):  # numbers without a bound have up to 16 digits
                    found.append(Bound(number, strict))
        return max(found, key=lambda bound: (bound.value * sign, bound.strict), default=None)

    def _object(self, pieces: list[Piece], name: str) -> Node:
        shape = object_shape(self._rules, pieces, self._note)
        if shape is None:
            return Choice(())
        if shape.is_any:
            return Text("object")
        label = f"{name}-" if name else ""
        properties = tuple(
            Property(json_text(key), self._node(sources, f"{label}{key}"), key in shape.required)
            for key, sources in shape.properties.items()
        )
        others = None if shape.others is None else self._node(shape.others, f"{label}additional-value")
        return Object(properties, tuple(shape.properties), others, shape.other_name, shape.most)

    def _array(self, pieces: list[Piece], name: str) -> Node:
        shape = array_shape(pieces, self._note)
        if shape is None:
            return Choice(())
        if shape.is_any:
            return Text("array")
        label = f"{name}-" if name else ""
        items = tuple(self._node(sources, f"{label}tuple-{i}") for i, sources in enumerate(shape.items))
        rest = None if shape.rest is None else self._node(shape.rest, f"{label}item")
        return Array(items, rest, shape.low, shape.high)

    def _note(self, piece: Piece, keyword: str, reason: str) -> None:
        found = NotEnforced(f"#{piece.pointer}", keyword, reason)
        if found not in self.found:
            self.found.append(found)

    def _note_unknown(self, piece: Piece, known: Sequence[str], kind: str | None = None) -> None:
        """Note the keywords that are not in `known` and restrict values of this type."""
        about: Collection[str] = _ABOUT.get(kind or "", ())
        for keyword in piece.keywords():
            other_type = keyword in _SPECIFIC and kind is not None and keyword not in about
            alone = keyword in _SILENT_ALONE and _SILENT_ALONE[keyword] not in piece
            if keyword in known or other_type or alone or piece.get(keyword) in _HARMLESS.get(keyword, ()):
                continue
            is_known = keyword in _SPECIFIC or keyword in ("not", "if", "then", "else")
            reason = "the grammar has no such check" if is_known else "the keyword is unknown"
            self._note(piece, keyword, reason)


def _key(source: Source) -> Any:
    return source.key if not isinstance(source.schema, bool) else source.schema


def _types(pieces: list[Piece]) -> tuple[str, ...]:
    """Return the types that all pieces allow, or the one that keywords tell, or `value` for any."""
    kinds: tuple[str, ...] | None = None
    for piece in pieces:
        own = piece.types()
        if own is None:
            continue
        kinds = own if kinds is None else tuple(dict.fromkeys(_shared_types(kinds, own)))
    if kinds is not None:
        return tuple(kind for kind in dict.fromkeys(kinds) if kind != "integer" or "number" not in kinds)
    for kind, keywords in _GUESSES.items():
        if any(keyword in piece for piece in pieces for keyword in keywords):
            return (kind,)
    closed = any(piece.get("additionalProperties") not in (None, True) for piece in pieces)
    return ("object",) if closed else ("value",)


def _shared_types(first: Sequence[str], second: Sequence[str]) -> list[str]:
    shared = [kind for kind in first if kind in second]
    if ("number" in first and "integer" in second) or ("integer" in first and "number" in second):
        shared.append("integer")
    return shared


def not_enforced(schema: Any) -> list[NotEnforced]:
    """Return what the grammar of a schema does not enforce."""
    return list(convert(schema).not_enforced)
