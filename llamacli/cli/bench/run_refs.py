"""References to runs, as `bench compare` and others accept them: numbers of the history, `last`, files, and rows of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.bench.compare.runs import BenchRun, RunGroup
from llamacli.errors import UsageError
from llamacli.store.benchmarks.files import read_rows

if TYPE_CHECKING:
    from llamacli.bench.measure.rows import Row
    from llamacli.store.benchmarks.history import History

_NUMBER = re.compile(r"[0-9]{1,9}")
_LAST = re.compile(r"last(?:~([0-9]{1,9}))?")

OpenHistory = Callable[[], "History"]


def parse_runs(text: str, open_history: OpenHistory) -> RunGroup:
    """Return the runs of a reference: `12`, `last`, `last~1`, `12+14+16`, `main.json`; `12:2` or `12:n_threads=4` selects rows.

    Raises:
        UsageError: if the run, the file or the rows do not exist.
    """
    name, part = text, ""
    if not _is_file(text):
        head, colon, tail = text.rpartition(":")
        if colon and ("=" in tail or tail.isdecimal()):
            name, part = head, tail
    names = [name] if _is_file(name) and not _is_stored(name) else name.split("+")
    runs = tuple(_measurement(item, open_history) for item in names)
    if part:
        runs = tuple(replace(run, rows=_selected(run.rows, part, text)) for run in runs)
    label = f"run {name}" if _NUMBER.fullmatch(name) else f"runs {name}" if all(map(_is_stored, names)) else name
    label = f"run {runs[0].stored}" if _LAST.fullmatch(name) else label
    return RunGroup(f"{label}:{part}" if part else label, runs)


def stored_number(text: str, history: History) -> int:
    """Return the number of the run `12`, `last` or `last~1`.

    Raises:
        UsageError: if the text is none of these, or there are fewer runs.
    """
    if match := _LAST.fullmatch(text):
        return history.last(int(match[1] or 0))
    if not _NUMBER.fullmatch(text):
        raise UsageError(f"invalid run {text!r}: use a number, last or last~N", hint="llamacli bench history lists the runs")
    return int(text)


def _is_stored(name: str) -> bool:
    return bool(_NUMBER.fullmatch(name) or _LAST.fullmatch(name))


def _is_file(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except OSError:  # a name that is too long
        return False


def _measurement(name: str, open_history: OpenHistory) -> BenchRun:
    if not _is_stored(name):
        if not _is_file(name):
            raise UsageError(f"no run or file {name!r} found", hint="llamacli bench history lists the runs")
        return BenchRun(read_rows(Path(name)))
    history = open_history()
    run = history.run(stored_number(name, history))
    return BenchRun(run.rows, run.id, run.machine, run.build)


def _selected(rows: tuple[Row, ...], part: str, text: str) -> tuple[Row, ...]:
    """Return the row of that number, or the rows with these values."""
    if part.isdecimal():
        if not 1 <= int(part) <= len(rows):
            raise UsageError(f"{text}: row {part} does not exist, only rows 1 to {len(rows)}")
        return (rows[int(part) - 1],)
    for condition in part.split(","):
        column, equals, value = condition.partition("=")
        if not equals or not any(column in row for row in rows):
            raise UsageError(f"{text}: {condition!r} is not a row's number or COLUMN=VALUE with a column of the rows")
        rows = tuple(row for row in rows if _text(row.get(column)) == value.lower())
    if not rows:
        raise UsageError(f"{text}: no rows match {part!r}")
    return rows


def _text(value: object) -> str:
    return str(value).lower()
