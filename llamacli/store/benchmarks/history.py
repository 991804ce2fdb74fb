"""The history of benchmarks in SQLite: every run with its rows and samples, its machine and its build.

Rows are documents with llama-bench's columns. Two fingerprints identify the machine and the build of a run; `origin` holds
the documents they are computed from.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamacli.errors import UsageError
from llamacli.store.benchmarks.columns import FORMER, stored_problem
from llamacli.store.files import paths
from llamacli.store.files.database import Database
from llamacli.store.files.records import fits, has_shape, is_integer, is_number, is_text, is_time, optional, parse_object
from llamacli.units import counted

_SCHEMA = """
create table run (
    id integer primary key autoincrement, created real not null, command text not null, options text not null,
    origin text not null, machine text not null, build text not null, interrupted integer not null
);
create table row (
    run integer not null references run on delete cascade, number integer not null, thing text not null, test text not null,
    model text not null, median_ts real, error text, document text not null, primary key (run, number)
) without rowid;
create index row_by_thing on row (thing);
"""
_HINT = "--no-save runs without the history"
_FINGERPRINT_DIGITS = 12
_MAX_SPEEDS = 30

_ORIGIN_SHAPE = {
    "machine": {
        "cpu": is_text, "cores": is_integer, "memory": is_integer, "features": [is_text],
        "devices": [{"description": is_text, "memory": is_integer}],
    },
    "build": {"llamacli": is_text, "llama_cpp": is_text, "compiler": is_text},
    "system": {"platform": is_text},
    "models": {"*": {"header_sha256": is_text, "size": is_integer}},
}  # fmt: skip

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row to be stored. `configuration` identifies what was measured, independent of machine and build."""

    configuration: str
    document: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run. `created` is in seconds since 1970; `interrupted` runs are incomplete.

    `origin` has `machine`, `build`, `system` and `models`; `machine` and `build` are the fingerprints of the first two.
    """

    id: int
    created: float
    command: str
    options: Mapping[str, Any]
    origin: Mapping[str, Any]
    machine: str
    build: str
    interrupted: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The summary of a run. `models` are file names; `results` are tests with their median tokens/s, None if failed."""

    id: int
    created: float
    command: str
    machine: str
    build: str
    llama_cpp: str
    interrupted: bool
    models: tuple[str, ...]
    results: tuple[tuple[str, float | None], ...]


def database_path() -> Path:
    """The path of the database, which may not exist."""
    return paths.data_dir() / "bench" / "history.db"


def fingerprint(document: Mapping[str, Any]) -> str:
    """A short hash of a document's content."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_FINGERPRINT_DIGITS]


class History:
    """The database of runs, created if it does not exist. `close()` may be called twice.

    Raises (the constructor and every method):
        LlamacliError: if the database cannot be read or written, or was created by a newer version.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._database = Database(path or database_path(), steps=(_SCHEMA,), hint=_HINT)

    def save(
        self,
        rows: Sequence[NewRow],
        *,
        origin: Mapping[str, Any],
        command: str,
        options: Mapping[str, Any],
        interrupted: bool = False,
    ) -> int:
        """Store a run and return its number."""
        machine, build = fingerprint(origin["machine"]), fingerprint(origin["build"])
        with self._database.transaction():
            run = self._database.execute(
                "insert into run (created, command, options, origin, machine, build, interrupted) values (?, ?, ?, ?, ?, ?, ?)",
                (time.time(), _storable(command), _dump(options), _dump(origin), machine, build, interrupted),
            )
            for number, row in enumerate(rows, start=1):
                document = row.document
                self._database.execute(
                    "insert into row values (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        run,
                        number,
                        _storable(row.configuration),
                        document["test"],
                        _storable(str(document["model_filename"])),
                        document["median_ts"],
                        None if document["error"] is None else _storable(document["error"]),
                        _dump(document),
                    ),
                )
        return run

    def runs(self, *, model: str = "", test: str = "", machine: str = "", limit: int | None = None) -> list[RunSummary]:
        """The runs whose model and test contain these strings and whose machine starts with `machine`, the latest first."""
        found = self._database.rows(
            """select id, created, command, machine, build, json_extract(origin, '$.build.llama_cpp'), interrupted from run
            where exists (select 1 from row where run = id and instr(lower(model), lower(?)) and instr(test, ?))
            and substr(machine, 1, length(?)) = ? order by id desc limit ?""",
            (model, test, machine, machine, -1 if limit is None else limit),
        )
        if not fits(found, is_integer, is_time, is_text, is_text, is_text, optional(is_text), is_integer):
            raise self._database.corrupt("a run has values of wrong types")
        return [self._listed(*columns) for columns in found]

    def _listed(
        self, run: int, created: float, command: str, machine: str, build: str, llama_cpp: str | None, interrupted: int
    ) -> RunSummary:
        rows = self._database.rows("select test, model, median_ts, error from row where run = ? order by number", (run,))
        if not fits(rows, is_text, is_text, optional(is_number), optional(is_text)):
            raise self._database.corrupt(f"a row of run {run} has values of wrong types")
        return RunSummary(
            id=run,
            created=created,
            command=command,
            machine=machine,
            build=build,
            llama_cpp=llama_cpp or "",
            interrupted=bool(interrupted),
            models=tuple(dict.fromkeys(Path(model).name for _, model, _, _ in rows)),
            results=tuple((test, None if error is not None else speed) for test, _, speed, error in rows),
        )

    def run(self, number: int) -> StoredRun:
        """A run with its rows. Raises UsageError if it does not exist."""
        found = self._database.rows("select * from run where id = ?", (number,))
        if not found:
            raise _unknown_run(number)
        if not fits(found, is_integer, is_time, *[is_text] * 5, is_integer):
            raise self._database.corrupt(f"run {number} has values of wrong types")
        identity, created, command, options, origin, machine, build, interrupted = found[0]
        return StoredRun(
            id=identity,
            created=created,
            command=command,
            options=self._object(options, "options", number),
            origin=self._origin(origin, number),
            machine=machine,
            build=build,
            interrupted=bool(interrupted),
            rows=tuple(self._rows(number)),
        )

    def _origin(self, text: str, number: int) -> dict[str, Any]:
        document = self._object(text, "origin", number)
        if not has_shape(document, _ORIGIN_SHAPE):
            raise self._database.corrupt(f"the origin of run {number} is incomplete")
        return document

    def _rows(self, number: int) -> Iterator[dict[str, Any]]:
        query = "select document from row where run = ? order by number"
        for index, (text,) in enumerate(self._database.rows(query, (number,)), start=1):
            row = self._object(text, f"row {index}", number)
            if problem := stored_problem(row):
                raise self._database.corrupt(f"row {index} of run {number}: {problem}")
            yield FORMER | row

    def _object(self, text: object, name: str, number: int) -> dict[str, Any]:
        document = parse_object(text)
        if document is None:
            raise self._database.corrupt(f"{name} of run {number} is not a JSON object")
        return document

    def last(self, before: int = 0) -> int:
        """The number of the last run, or of the run `before` runs earlier. Raises UsageError if there are not enough runs."""
        found = self._database.rows("select id from run order by id desc limit 1 offset ?", (before,))
        if not found:
            count = self._database.rows("select count(*) from run")[0][0]
            message = "no stored runs" if not count else f"only {counted(count, 'stored run')}"
            raise UsageError(message, hint="llamacli bench stores its runs")
        if not fits(found, is_integer):
            raise self._database.corrupt("the number of a run is not an integer")
        number: int = found[0][0]
        return number

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove these runs, all or none. Raises UsageError if one does not exist."""
        with self._database.transaction():
            for number in numbers:
                if not self._database.rows("select 1 from run where id = ?", (number,)):
                    raise _unknown_run(number)
                self._database.execute("delete from run where id = ?", (number,))

    def speeds(self, configuration: str, *, machine: str, build: str, excluded: Sequence[int] = ()) -> list[float]:
        """The median speeds of a configuration in the latest runs of this build on this machine, in tokens/s.

        `excluded` runs are left out.
        """
        found = self._database.rows(
            """select median_ts from row join run on run = id where thing = ? and machine = ? and build = ?
            and median_ts > 0 and error is null and not exists (select 1 from json_each(?) where value = run.id)
            order by id desc limit ?""",
            (_storable(configuration), machine, build, json.dumps(excluded), _MAX_SPEEDS),
        )
        return [speed for (speed,) in found if is_number(speed)]

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _unknown_run(number: int) -> UsageError:
    return UsageError(f"unknown run {number}", hint="llamacli bench history lists the runs")


def _dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, allow_nan=False)


def _storable(text: str) -> str:
    """Escape lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()
