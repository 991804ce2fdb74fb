"""What `bench compare` and the others take for a run: numbers of the history, `last`, files, and parts of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.bench.compare.runs import Measurement, Side
from llamacli.errors import UsageError
from llamacli.store.benchmarks.files import read_rows

if TYPE_CHECKING:
    from llamacli.bench.measure.rows import Row
    from llamacli.store.benchmarks.history import History

_NUMBER = re.compile(r"[0-9]{1,9}")
_LAST = re.compile(r"last(?:~([0-9]{1,9}))?")

OpenHistory = Callable[[], "History"]


def parse_side(text: str, open_history: OpenHistory) -> Side:
    """One side of a comparison: `12`, `last`, `last~1`, `12+14+16`, `main.json`, each with a part: `12:2`, `12:n_threads=4`.

    Raises:
        UsageError: there is no such run, file or part.
    """
    name, part = text, ""
    if not _is_file(text):
        head, colon, tail = text.rpartition(":")
        if colon and ("=" in tail or tail.isdecimal()):
            name, part = head, tail
    pieces = [name] if _is_file(name) and not _is_stored(name) else name.split("+")
    runs = tuple(_measurement(piece, open_history) for piece in pieces)
    if part:
        runs = tuple(replace(run, rows=_part(run.rows, part, text)) for run in runs)
    label = f"run {name}" if _NUMBER.fullmatch(name) else f"runs {name}" if all(map(_is_stored, pieces)) else name
    label = f"run {runs[0].stored}" if _LAST.fullmatch(name) else label
    return Side(f"{label}:{part}" if part else label, runs)


def stored_number(text: str, history: History) -> int:
    """The number of a run from `12`, `last` or `last~1`.

    Raises:
        UsageError: it is none of these, or there are not as many runs.
    """
    if match := _LAST.fullmatch(text):
        return history.last(int(match[1] or 0))
    if not _NUMBER.fullmatch(text):
        raise UsageError(f"a run is a number, or last: {text}", hint="llamacli bench history lists them")
    return int(text)


def _is_stored(name: str) -> bool:
    return bool(_NUMBER.fullmatch(name) or _LAST.fullmatch(name))


def _is_file(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except OSError:  # a name that is too long
        return False


def _measurement(name: str, open_history: OpenHistory) -> Measurement:
    if not _is_stored(name):
        if not _is_file(name):
            raise UsageError(f"there is no run and no file {name}", hint="llamacli bench history lists the runs")
        return Measurement(read_rows(Path(name)))
    history = open_history()
    run = history.run(stored_number(name, history))
    return Measurement(run.rows, run.id, run.machine, run.build)


def _part(rows: tuple[Row, ...], part: str, text: str) -> tuple[Row, ...]:
    """The row of that number, or the rows with these values."""
    if part.isdecimal():
        if not 1 <= int(part) <= len(rows):
            raise UsageError(f"{text}: there are rows 1 to {len(rows)}")
        return (rows[int(part) - 1],)
    for condition in part.split(","):
        column, equals, value = condition.partition("=")
        if not equals or not any(column in row for row in rows):
            raise UsageError(f"{text}: a part is a row's number or COLUMN=VALUE, with a column that the rows have")
        rows = tuple(row for row in rows if _text(row.get(column)) == value.lower())
    if not rows:
        raise UsageError(f"{text}: there is no such row")
    return rows


def _text(value: object) -> str:
    return str(value).lower()
