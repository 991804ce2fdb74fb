"""Reader of benchmark files: JSON or JSONL of llamacli or llama-bench."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import parse_json
from llamacli.store.benchmarks.columns import type_problem

_MAX_BYTES = 256 << 20
_HINT = "llamacli bench and llama-bench write benchmark files with -o json or -o jsonl"


def read_rows(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The rows of a file: a JSON array, a document of `bench show --json`, or one object per line.

    Raises:
        UsageError: if the file cannot be read or is not a benchmark file.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} is too large for a benchmark file: more than {_MAX_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", hint=_HINT) from None
    if not text.strip():
        raise UsageError(f"{path} is empty", hint=_HINT)
    rows = _parse(text, path)
    if not rows:
        raise UsageError(f"{path} has no rows", hint=_HINT)
    for number, row in enumerate(rows, start=1):
        _check(row, f"{path}, row {number}")
    return tuple(rows)


def _parse(text: str, path: Path) -> list[Any]:
    try:
        document = parse_json(text, source=str(path))
    except InvalidJSONError as error:
        if not _is_json(text.lstrip().partition("\n")[0]):
            raise UsageError(error.message, hint=_HINT) from None
        return _parse_lines(text, path)
    if isinstance(document, dict) and "rows" in document:
        document = document["rows"]
    return document if isinstance(document, list) else [document]


def _parse_lines(text: str, path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(parse_json(line))
            except InvalidJSONError as error:
                message = f"{path}: invalid JSON at line {number}, column {error.column}: {error.reason}"
                raise UsageError(message, hint=_HINT) from None
    return rows


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except InvalidJSONError:
        return False
    return True


def _check(row: Any, location: str) -> None:
    """Raise UsageError unless the row has a test, and its speed or an error."""
    if not isinstance(row, dict):
        raise UsageError(f"{location} is not an object", hint=_HINT)
    for name in ("n_prompt", "n_gen"):
        if not isinstance(row.get(name), int):
            raise UsageError(f"{location} has no {name}", hint=_HINT)
    if problem := type_problem(row):
        raise UsageError(f"{location}: {problem}", hint=_HINT)
    samples = row.get("samples_ts", [])
    if not isinstance(samples, list) or not all(map(_is_speed, samples)):
        raise UsageError(f"{location}: samples_ts must be positive numbers")
    if row.get("error") is None and not samples and not _is_speed(row.get("avg_ts")):
        raise UsageError(f"{location} has neither samples_ts nor avg_ts", hint=_HINT)


def _is_speed(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
