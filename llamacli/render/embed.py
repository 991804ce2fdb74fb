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
    from llamacli.engine.embedding_vectors import Matrix

SHOWN_ROWS = 20
"""Texts that the view shows; the others are only counted."""
_FIRST_VALUES = 4
_CELL = 6


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that was found: its number, what identifies it, the text, and its score."""

    index: int
    id: str | int | None
    text: str
    score: float


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
    """One line: number, text, tokens, dimension, norm and first values."""
    rows = f" {vectors.shape[0]} ×" if vectors.shape[0] > 1 else ""
    first = " ".join(f"{value:+.4f}" for value in vectors[0, :_FIRST_VALUES].tolist())
    norm = math.sqrt(math.fsum(value * value for value in vectors[0].tolist()))
    more = " …" if vectors.shape[1] > _FIRST_VALUES else ""
    tail = f"{tokens:>5} tokens {rows} {vectors.shape[1]} numbers, norm {norm:.3f}: {first}{more}"
    return f"{number:>3}  {fit(shown, max(width - len(tail) - 7, 8))}  {tail}\n"


def format_failed_row(number: int, shown: str, error: LlamacliError, *, width: int) -> str:
    """The line of a text that has no vector."""
    return f"{number:>3}  {fit(shown, max(width // 3, 8))}  error: {escape_line(str(error))}\n"


def format_more(count: int) -> str:
    """The last line of a view that does not show all."""
    return f"     … and {count:,} more (-o FILE keeps all of them)\n"


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


def format_similarity(texts: Sequence[str], matrix: Matrix, *, width: int) -> str:
    """The cosines as a table, wide ones in blocks; the texts are numbered and named at the rows."""
    label = min(max((len(escape_line(text)) for text in texts), default=0), max(width // 3, 8))
    columns = max((width - label - 6) // (_CELL + 1), 1)
    blocks = []
    for start in range(0, len(texts), columns):
        numbers = range(start, min(start + columns, len(texts)))
        head = " " * (label + 5) + "".join(f" {number + 1:>{_CELL}}" for number in numbers)
        rows = [
            f"{row + 1:>3}  {fit(text, label)}" + "".join(f" {matrix[row, number]:>{_CELL}.3f}" for number in numbers)
            for row, text in enumerate(texts)
        ]
        blocks.append("\n".join([head, *rows]) + "\n")
    return "\n".join(blocks)


def similarity_document(texts: Sequence[str], matrix: Matrix) -> Iterator[str]:
    """The same for programs, as JSON, in pieces: a row for each text is much when there are thousands."""
    head = json.dumps({"object": "similarity", "texts": list(texts)}, ensure_ascii=False)
    yield f'{head[:-1]}, "matrix": ['
    for number, row in enumerate(matrix):
        yield ("," if number else "") + json_numbers(row.astype("f8").round(6).tolist())
    yield "]}\n"


def fit(text: str, width: int) -> str:
    """A text on `width` columns, cut or filled up."""
    line = escape_line(" ".join(text.split()))
    return f"{line[: width - 1]}…" if len(line) > width else line.ljust(width)
