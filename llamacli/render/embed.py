"""Vectors, hits and similarities as text and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llamacli.batch.vector_json import json_numbers
from llamacli.errors import LlamacliError
from llamacli.render.text import columns, escape_line
from llamacli.render.wrap import cut, wrap

if TYPE_CHECKING:
    from llamacli.engine.embedding.outcome import Rows
    from llamacli.engine.embedding.vectors import Matrix

SHOWN_ROWS = 20
"""Texts that the view shows. The others are only counted."""
_FIRST_VALUES = 4
_CELL = 6
_ROOM_BESIDE_VALUES, _ROOM = 16, 8
"""Minimum columns of a text: beside values, and beside anything else."""
_LONGEST = 4096
"""Characters of a text that any width can show."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A text found by a search: its number, its id, the text, and its score; its place for the user and for JSON."""

    index: int
    id: str | int | None
    text: str
    score: float
    label: str | None = None
    place: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compared:
    """A text in a comparison: its number, its id, and its label."""

    index: int
    id: str | int | None
    shown: str


def format_view_row(number: int, shown: str, rows: Rows, tokens: int, *, width: int) -> str:
    """Return one line: number, text, tokens, dimension, norm and first values. A narrow terminal omits the last of these."""
    for room, tail in _tails(rows, tokens):
        left = width - len(tail) - 7
        if left >= room:
            break
    return f"{number:>3}  {fit(shown, max(left, 1))}  {tail}\n"


def _tails(vectors: Rows, tokens: int) -> Iterator[tuple[int, str]]:
    """Yield what can follow a text, the longest first, each with the minimum columns of the text."""
    count = f"{tokens:>5} tokens"
    rows = f" {vectors.shape[0]} ×" if vectors.shape[0] > 1 else ""
    first = vectors.tolist()[0]
    size = f"{count} {rows} {vectors.shape[1]} numbers"
    with_norm = f"{size}, norm {math.sqrt(math.fsum(value * value for value in first)):.3f}"
    values = [f" {value:+.4f}" for value in first[:_FIRST_VALUES]]
    for shown in range(len(values), 0, -1):
        more = " …" if vectors.shape[1] > shown else ""
        yield _ROOM_BESIDE_VALUES, f"{with_norm}:{''.join(values[:shown])}{more}"
    yield from ((_ROOM, tail) for tail in (with_norm, size, count))


def format_failed_row(number: int, shown: str, error: LlamacliError, *, width: int) -> str:
    """Return the lines of a text without a vector."""
    start = f"{number:>3}  {fit(shown, max(width // 3, 8))}  error: "
    return "\n".join(wrap(escape_line(str(error)), width, first=start, rest=" " * 5)) + "\n"


def format_more(count: int, *, width: int) -> str:
    """Return the last line of a view that does not show all texts."""
    line = f"     … and {count:,} more (-o FILE writes all)"
    return f"{line if len(line) < width else line[: line.index(' (')]}\n"


def format_hits(hits: Sequence[Hit], *, width: int) -> str:
    """Return a line for each hit: score and text, best first."""
    lines = []
    for hit in hits:
        name = f"{hit.label or hit.id}: " if hit.id is not None else ""
        lines.append(f"{hit.score:8.4f}  {fit(name + hit.text, max(width - 11, 8)).rstrip()}\n")
    return "".join(lines)


def hit_document(hit: Hit) -> dict[str, Any]:
    """Return a hit for JSON."""
    name = {} if hit.id is None else {"id": hit.id}
    return {"index": hit.index, **name, **hit.place, "score": round(hit.score, 6), "text": hit.text}


def format_similarity(compared: Sequence[Compared], matrix: Matrix, *, width: int) -> str:
    """Return the cosine similarities as a table, a wide one in blocks. Rows have the texts' numbers and labels."""
    digits = max((len(str(text.index + 1)) for text in compared), default=0)
    digits = max(digits, 3)
    label = min(max((columns(_line(text.shown)) for text in compared), default=0), max(width // 3, _ROOM))
    across = max((width - label - digits - 3) // (_CELL + 1), 1)
    blocks = []
    for start in range(0, len(compared), across):
        numbers = range(start, min(start + across, len(compared)))
        head = " " * (label + digits + 2) + "".join(f" {compared[number].index + 1:>{_CELL}}" for number in numbers)
        rows = [
            f"{text.index + 1:>{digits}}  {fit(text.shown, label)}"
            + "".join(f" {matrix[row, number]:>{_CELL}.3f}" for number in numbers)
            for row, text in enumerate(compared)
        ]
        blocks.append("\n".join([head, *rows]) + "\n")
    return "\n".join(blocks)


def similarity_document(compared: Sequence[Compared], matrix: Matrix) -> Iterator[str]:
    """Yield the similarities as one JSON document, row by row, because thousands of texts make millions of numbers."""
    members: dict[str, Any] = {"object": "similarity", "index": [text.index for text in compared]}
    if any(text.id is not None for text in compared):
        members["id"] = [text.id for text in compared]
    members["texts"] = [text.shown for text in compared]
    yield f'{json.dumps(members, ensure_ascii=False)[:-1]}, "matrix": ['
    for number, row in enumerate(matrix):
        yield ("," if number else "") + json_numbers(row.astype("f8").round(6).tolist())
    yield "]}\n"


def _line(text: str) -> str:
    return escape_line(" ".join(text.lstrip()[:_LONGEST].split()))


def fit(text: str, width: int) -> str:
    """Return a text cut or padded to `width` columns."""
    line = cut(_line(text), width)
    return line + " " * (width - columns(line))
