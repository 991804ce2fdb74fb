"""The shape of arrays: items of several schemas that all apply, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llamacli.grammar.schema.pieces import Piece, Source
from llamacli.grammar.schema.repetition import LARGEST_COUNT

Note = Callable[[Piece, str, str], None]


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """The schemas of the items at the start, and of from `low` to `high` others (None: there are none)."""

    items: tuple[tuple[Source, ...], ...]
    rest: tuple[Source, ...] | None
    low: int = 0
    high: int | None = None
    is_any: bool = False


def array_shape(pieces: Sequence[Piece], note: Note) -> ArrayShape | None:
    """Put together the arrays that satisfy all pieces; None if there are none.

    Raises:
        SchemaError: if a piece is invalid.
    """
    low, high = _lengths(pieces, note)
    if high is not None and low > high:
        return None
    parts = [_parts(piece) for piece in pieces]
    count = max((len(start) for start, _ in parts), default=0)
    count = count if high is None else min(count, high)
    items = tuple(tuple(source for part in parts for source in _at(part, i)) for i in range(count))
    others = [rest for _, rest in parts if rest is not None]
    if count and not others and low <= count:
        return ArrayShape(items, None)  # nothing says what could follow the items
    rest = tuple(others) or (Source(True, ""),)
    if any(source.schema is False for source in rest):
        if low > count:
            return None
        return ArrayShape(items, None)
    if any("unevaluatedItems" in piece for piece in pieces) and not others:
        return ArrayShape(items, None) if low <= count else None
    is_any = not items and not others and low == 0 and high is None
    return ArrayShape(items, rest, max(0, low - count), None if high is None else high - count, is_any)


def _lengths(pieces: Sequence[Piece], note: Note) -> tuple[int, int | None]:
    low, high = 0, None
    for piece in pieces:
        piece.check_order("minItems", "maxItems")
        least, most = piece.count("minItems") or 0, piece.count("maxItems")
        for keyword, count in (("minItems", least), ("maxItems", most)):
            if count is not None and count > LARGEST_COUNT:
                note(piece, keyword, f"grammars count to {LARGEST_COUNT:,}")
        low = max(low, min(least, LARGEST_COUNT))
        if most is not None and most <= LARGEST_COUNT:
            high = most if high is None else min(high, most)
    return low, high


def _parts(piece: Piece) -> tuple[list[Source], Source | None]:
    """Return the schemas of the items at the start, and that of the others, in the form of any draft."""
    items: Any = piece.get("items")
    if isinstance(items, list) and "prefixItems" not in piece:
        start, keyword, rest = items, "items", piece.get("additionalItems")
        following = "additionalItems"
    else:
        start, keyword, rest = list(piece.sequence("prefixItems")), "prefixItems", items
        following = "items"
    sources = [Source(schema, f"{piece.pointer}/{keyword}/{i}") for i, schema in enumerate(start)]
    return sources, None if rest is None else Source(rest, f"{piece.pointer}/{following}")


def _at(part: tuple[list[Source], Source | None], index: int) -> list[Source]:
    start, rest = part
    return [start[index]] if index < len(start) else [rest] if rest is not None else []
