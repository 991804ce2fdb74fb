"""Vectors for people and for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamacli.errors import LlamacliError
from llamacli.render.text import escape_line

if TYPE_CHECKING:
    from llamacli.engine.embedding.vectors import Matrix

SHOWN_ROWS = 20
"""Texts that the view shows; the others are only counted."""
_FIRST_VALUES = 4
_CELL = 6
_ROOM_BESIDE_VALUES, _ROOM = 16, 8
"""Columns that a text must be left for values to be shown beside it, and for anything else."""
_LONGEST = 4096
"""Characters of a text of which any could be shown."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that was found: its number, what identifies it, the text, and its score."""

    index: int
    id: str | int | None
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A text that was compared with others: its number, what identifies it, and what it is recognized by."""

    index: int
    id: str | int | None
    shown: str


def json_numbers(values: Sequence[float]) -> str:
    """A JSON array of 32-bit floats: nine digits hold each exactly."""
    return f"[{('%.9g,' * len(values))[:-1] % tuple(values)}]"


def json_vector(vectors: Matrix, *, nested: bool) -> str:
    """One vector, or with `nested` an array of vectors."""
    if not nested:
        return json_numbers(vectors[0].tolist())
    return f"[{','.join(json_numbers(row) for row in vectors.tolist())}]"


def json_members(members: dict[str, Any], last: tuple[str, str]) -> str:
    """An object of these members and a last one whose value is JSON already."""
    head = json.dumps(members, ensure_ascii=False)
    return f"{head[:-1]}, {json.dumps(last[0])}: {last[1]}}}"


def error_document(error: LlamacliError) -> dict[str, str]:
    """An error in the place of a result."""
    return {"message": str(error), "type": type(error).__name__}


def format_view_row(number: int, shown: str, vectors: Matrix, tokens: int, *, width: int) -> str:
    """One line: number, text, tokens, dimension, norm and first values. On a narrow terminal the last of these are left out."""
    for room, tail in _tails(vectors, tokens):
        left = width - len(tail) - 7
        if left >= room:
            break
    return f"{number:>3}  {fit(shown, max(left, 1))}  {tail}\n"


def _tails(vectors: Matrix, tokens: int) -> Iterator[tuple[int, str]]:
    """What may stand after a text, the longest first, and how many columns the text must have beside it."""
    count = f"{tokens:>5} tokens"
    rows = f" {vectors.shape[0]} ×" if vectors.shape[0] > 1 else ""
    size = f"{count} {rows} {vectors.shape[1]} numbers"
    with_norm = f"{size}, norm {math.sqrt(math.fsum(value * value for value in vectors[0].tolist())):.3f}"
    values = [f" {value:+.4f}" for value in vectors[0, :_FIRST_VALUES].tolist()]
    for shown in range(len(values), 0, -1):
        more = " …" if vectors.shape[1] > shown else ""
        yield _ROOM_BESIDE_VALUES, f"{with_norm}:{''.join(values[:shown])}{more}"
    yield from ((_ROOM, tail) for tail in (with_norm, size, count))


def format_failed_row(number: int, shown: str, error: LlamacliError, *, width: int) -> str:
    """The line of a text that has no vector."""
    return f"{number:>3}  {fit(shown, max(width // 3, 8))}  error: {escape_line(str(error))}\n"


def format_more(count: int, *, width: int) -> str:
    """The last line of a view that does not show all."""
    line = f"     … and {count:,} more (-o FILE keeps all of them)"
    return f"{line if len(line) < width else line[: line.index(' (')]}\n"


def format_hits(hits: Sequence[Hit], *, width: int) -> str:
    """A line for each: score and text, best first."""
    lines = []
    for hit in hits:
        name = f"{hit.id}: " if hit.id is not None else ""
        lines.append(f"{hit.score:8.4f}  {fit(name + hit.text, max(width - 11, 8)).rstrip()}\n")
    return "".join(lines)


def hit_document(hit: Hit) -> dict[str, Any]:
    """A hit for programs."""
    name = {} if hit.id is None else {"id": hit.id}
    return {"index": hit.index, **name, "score": round(hit.score, 6), "text": hit.text}


def format_similarity(compared: Sequence[Compared], matrix: Matrix, *, width: int) -> str:
    """The cosines as a table, wide ones in blocks; the texts are numbered and named at the rows."""
    digits = max((len(str(text.index + 1)) for text in compared), default=0)
    digits = max(digits, 3)
    label = min(max((columns(text.shown) for text in compared), default=0), max(width // 3, _ROOM))
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
    """The same for programs, as JSON, in pieces: a row for each text is much when there are thousands."""
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


def columns(text: str) -> int:
    """How many columns of a terminal a text takes on its line."""
    line = _line(text)
    if line.isascii():
        return len(line)
    from rich.cells import cell_len

    return cell_len(line)


def fit(text: str, width: int) -> str:
    """A text on `width` columns, cut or filled up."""
    line = _line(text)
    if line.isascii():
        return f"{line[: width - 1]}…" if len(line) > width else line.ljust(width)
    from rich.cells import cell_len, set_cell_size

    return f"{set_cell_size(line, width - 1)}…" if cell_len(line) > width else set_cell_size(line, width)
