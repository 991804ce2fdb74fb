"""The log of `run`: each prompt with its answer, in the database of the sessions.

The evaluated context of the last entry is kept beside it, so that the next prompt goes on at once.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamacli.errors import UsageError
from llamacli.store.files.records import fits, is_integer, is_row_id, is_text, is_time, parse_object
from llamacli.store.sessions.kv_states import SessionStates
from llamacli.store.sessions.schema import database_path, open_database, storable

_COLUMNS = "id, created, model, prompt, answer, document"
_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A prompt and its answer. `created` is in seconds since 1970.

    `document` holds the messages up to the answer, the answers, and the settings, usage and timings of the run.
    """

    id: int
    created: float
    model: str
    prompt: str
    answer: str
    document: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON document."""
        return {"id": self.id, "created": self.created, "model": self.model, "prompt": self.prompt, **self.document}


class Log:
    """The log. `close()` may be called twice.

    Raises (the constructor and every method):
        LlamacliError: if the database cannot be read or written, or was created by a newer version.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or database_path()
        self._database = open_database(self.path)
        self._states = SessionStates(self.path.parent / "log")

    def add(self, *, model: str, prompt: str, answer: str, document: Mapping[str, Any]) -> int:
        """Add an entry and return its number."""
        query = "insert into log (created, model, prompt, answer, document) values (?, ?, ?, ?, ?)"
        return self._database.execute(
            query, (time.time(), storable(model), storable(prompt), storable(answer), json.dumps(document))
        )

    def entries(self, *, limit: int | None = None) -> list[LogEntry]:
        """The entries, the latest first."""
        return self._entries("order by id desc limit ?", (_row_limit(limit),))

    def entry(self, number: int | None = None) -> LogEntry:
        """The entry with this number, or the last one. Raises UsageError if there is none."""
        where, values = ("order by id desc limit 1", ()) if number is None else ("where id = ?", (number,))
        found = self._entries(where, values) if number is None or is_row_id(number) else []
        if not found:
            raise UsageError(
                "the log is empty" if number is None else f"the log has no entry {number}",
                hint="run --log keeps prompts and answers" if number is None else "`llamacli log list` lists the entries",
            )
        return found[0]

    def search(self, text: str, *, limit: int | None = None) -> list[LogEntry]:
        """The entries whose prompt or answer has every word of `text`, ignoring case, the latest first."""
        words = text.casefold().split()
        conditions = " and ".join("instr(folded(prompt || char(10) || answer), ?)" for _ in words) or "false"
        return self._entries(f"where {conditions} order by id desc limit ?", (*words, _row_limit(limit)))

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove entries with their states. Raises UsageError, before any is removed, if one does not exist."""
        for number in numbers:
            self.entry(number)
        for number in numbers:
            self._states.remove(number)  # first: they are large, and the disk may be full
        with self._database.transaction():
            for number in numbers:
                self._database.execute("delete from log where id = ?", (number,))
        self._database.execute("pragma wal_checkpoint(truncate)")

    def numbers(self, *, older_than_days: float | None = None) -> list[int]:
        """The numbers of the entries, or of those that are older."""
        before = time.time() + 1 if older_than_days is None else time.time() - older_than_days * _DAY_SECONDS
        rows = self._database.rows("select id from log where created < ? order by id", (before,))
        return [number for (number,) in rows]

    def state(self, number: int) -> Path:
        """The path of the evaluated context of an entry, which may not exist."""
        return self._states.path(number)

    def prepare_state(self, number: int, size: int) -> Path | None:
        """Return the path for the evaluated context of an entry, of `size` bytes; None if it is too large.

        Those of all other entries are removed.
        """
        with self._database.guarded():
            self._states.folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(OSError):
            for file in self._states.folder.iterdir():
                file.unlink(missing_ok=True)
        return self._states.path(number) if self._states.admits(size) else None

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _entries(self, condition: str, values: Sequence[Any]) -> list[LogEntry]:
        rows = self._database.rows(f"select {_COLUMNS} from log {condition}", values)  # noqa: S608 - constant fragments
        if not fits(rows, is_row_id, is_time, is_text, is_text, is_text, is_text):
            raise self._database.corrupt("an entry of the log has values of wrong types")
        found = []
        for number, created, model, prompt, answer, text in rows:
            document = parse_object(text)
            if document is None:
                raise self._database.corrupt(f"entry {number} of the log is not a JSON object")
            found.append(LogEntry(number, created, model, prompt, answer, document))
        return found


def _row_limit(limit: int | None) -> int:
    """Return the limit for a query, which takes integers of 63 bits; no limit is -1."""
    return limit if limit is not None and is_integer(limit) else -1
