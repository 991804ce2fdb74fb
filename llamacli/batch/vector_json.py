"""Vectors and errors as JSON text. The numbers of a vector are written by one format operation, which json.dumps is slow at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llamacli.errors import LlamacliError

if TYPE_CHECKING:
    from llamacli.engine.embedding.outcome import Rows


def json_numbers(values: Sequence[float]) -> str:
    """Return a JSON array of 32-bit floats. Nine significant digits represent each exactly."""
    return f"[{('%.9g,' * len(values))[:-1] % tuple(values)}]"


def json_vector(rows: Rows, *, nested: bool) -> str:
    """Return the first row as a JSON array, or with `nested` all rows as an array of arrays."""
    vectors = rows.tolist()
    if not nested:
        return json_numbers(vectors[0])
    return f"[{','.join(json_numbers(row) for row in vectors)}]"


def json_members(members: dict[str, Any], last: tuple[str, str]) -> str:
    """Return a JSON object of these members and a last one whose value is JSON text already."""
    head = json.dumps(members, ensure_ascii=False)
    return f"{head[:-1]}, {json.dumps(last[0])}: {last[1]}}}"


def error_document(error: LlamacliError) -> dict[str, str]:
    """Return the error that takes the place of a result."""
    return {"message": str(error), "type": type(error).__name__}
