"""The history of benchmarks in SQLite: every run with its rows, samples and all, and with what it ran on.

Rows are documents with llama-bench's columns. Two fingerprints tell runs apart: of the machine and of the build; `origin` holds
what they were made of.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamacli.errors import UsageError
from llamacli.store.files import paths
from llamacli.store.files.database import Database

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
_HINT = "--no-save does without the history"
_FINGERPRINT_DIGITS = 12
_LATEST = 30

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row to be stored. `thing` says what was measured, whatever it was measured on."""

    thing: str
    document: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run. `created` in seconds since 1970; `interrupted`: it did not come to its end.

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
class Listed:
    """A run at a glance. `models` are file names; `results` are tests with their median speed, None for one that failed."""

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
    """Where the history is kept, whether there is any or not."""
    return paths.data_dir() / "bench" / "history.db"


def fingerprint(document: Mapping[str, Any]) -> str:
    """A short name for what a document says: documents that say the same have the same one."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_FINGERPRINT_DIGITS]


class History:
    """The history, made if there is none. `close()` may be called twice.

    Raises (also by every method):
        LlamacliError: the database cannot be read or written, or was made by a newer version.
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
        """Stores a run as a whole; its number."""
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
                        _storable(row.thing),
                        document["test"],
                        _storable(str(document["model_filename"])),
                        document["median_ts"],
                        None if document["error"] is None else _storable(document["error"]),
                        _dump(document),
                    ),
                )
        return run

    def runs(self, *, model: str = "", test: str = "", machine: str = "", limit: int | None = None) -> list[Listed]:
        """The latest runs first: those with a model and a test whose names contain these texts, on machines that begin so."""
        found = self._database.rows(
            """select id, created, command, machine, build, json_extract(origin, '$.build.llama_cpp'), interrupted from run
            where exists (select 1 from row where run = id and instr(lower(model), lower(?)) and instr(test, ?))
            and substr(machine, 1, length(?)) = ? order by id desc limit ?""",
            (model, test, machine, machine, -1 if limit is None else limit),
        )
        return [self._listed(*columns) for columns in found]

    def _listed(
        self, run: int, created: float, command: str, machine: str, build: str, llama_cpp: str | None, interrupted: int
    ) -> Listed:
        rows = self._database.rows("select test, model, median_ts, error from row where run = ? order by number", (run,))
        return Listed(
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
        """A run with all that is known of it. Raises UsageError if there is none of that number."""
        found = self._database.rows("select * from run where id = ?", (number,))
        if not found:
            raise UsageError(f"there is no run {number}", hint="llamacli bench history lists them")
        identity, created, command, options, origin, machine, build, interrupted = found[0]
        documents = self._database.rows("select document from row where run = ? order by number", (number,))
        return StoredRun(
            id=identity,
            created=created,
            command=command,
            options=json.loads(options),
            origin=json.loads(origin),
            machine=machine,
            build=build,
            interrupted=bool(interrupted),
            rows=tuple(json.loads(document) for (document,) in documents),
        )

    def last(self, before: int = 0) -> int:
        """The number of the last run, or of the one so many before it. Raises UsageError if there are not as many."""
        found = self._database.rows("select id from run order by id desc limit 1 offset ?", (before,))
        if not found:
            count = self._database.rows("select count(*) from run")[0][0]
            what = "there are no stored runs" if not count else f"there are only {count} stored runs"
            raise UsageError(what, hint="llamacli bench makes and stores one")
        number: int = found[0][0]
        return number

    def remove(self, numbers: Sequence[int]) -> None:
        """Removes these runs, or none of them. Raises UsageError for a number that there is not."""
        with self._database.transaction():
            for number in numbers:
                if not self._database.rows("select 1 from run where id = ?", (number,)):
                    raise UsageError(f"there is no run {number}", hint="llamacli bench history lists them")
                self._database.execute("delete from run where id = ?", (number,))

    def speeds(self, thing: str, *, machine: str, build: str, but: Sequence[int] = ()) -> list[float]:
        """The median speeds that the latest runs of this build on this machine found for the same thing, `but` for some."""
        found = self._database.rows(
            """select median_ts from row join run on run = id where thing = ? and machine = ? and build = ?
            and median_ts > 0 and error is null and not exists (select 1 from json_each(?) where value = run.id)
            order by id desc limit ?""",
            (_storable(thing), machine, build, json.dumps(but), _LATEST),
        )
        return [speed for (speed,) in found]

    def close(self) -> None:
        """Closes the database."""
        self._database.close()


def _dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, allow_nan=False)


def _storable(text: str) -> str:
    """UTF-8 has no lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()
