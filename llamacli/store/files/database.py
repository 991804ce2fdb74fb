"""A private SQLite database: in a folder that only its user may enter, with schema versions, shared by concurrent programs."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llamacli.errors import LlamacliError

_BUSY_SECONDS = 10
_MAX_SECONDS = 60.0
_STEPS_BETWEEN_CHECKS = 1_000_000
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_IOERR_WRITE)
"""SQLite's error codes for a full disk."""


class Database:
    """An open database, created if it does not exist. `close()` may be called twice.

    `steps` are scripts, each of which upgrades the schema by one version; the first creates it. `hint` is the hint of every
    error. `connection` is for code that needs SQLite's own errors.

    On a full disk, where SQLite's write-ahead log finds no room, nobody else can use the database meanwhile, and what is
    removed is overwritten in place: so there can be room again.

    Raises (the constructor and every method):
        LlamacliError: if the database cannot be read or written, or was created by a newer version.
    """

    def __init__(self, path: Path, *, steps: Sequence[str], hint: str) -> None:
        self.path = path
        self._hint = hint
        self._deadline = 0.0
        with self.guarded():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            path.chmod(0o600)
            try:
                self._open(steps, journal="wal")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in _FULL:
                    raise
                self._open(steps, journal="memory")

    def _open(self, steps: Sequence[str], *, journal: str) -> None:
        self.connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        self.connection.set_progress_handler(self._is_late, _STEPS_BETWEEN_CHECKS)
        try:
            if journal == "memory":
                self.connection.execute("pragma locking_mode = exclusive")  # what is shared with others is a file
            self._prepare(steps, journal)
        except BaseException:
            self.connection.close()
            raise

    def _prepare(self, steps: Sequence[str], journal: str) -> None:
        run = self.connection.execute
        run(f"pragma journal_mode = {journal}")
        run("pragma synchronous = normal")
        run("pragma foreign_keys = on")
        with self.transaction():
            version = run("pragma user_version").fetchone()[0]
            if version < 0:
                raise self.corrupt("unknown schema version")
            if version > len(steps):
                raise LlamacliError(f"{self.path} was created by a newer llamacli", hint=self._hint)
            for step in steps[version:]:
                for statement in _statements(step):
                    run(statement)
            run(f"pragma user_version = {len(steps)}")

    def execute(self, query: str, values: Sequence[Any] = ()) -> int:
        """Execute a statement and return the id of the last inserted row."""
        with self.guarded():
            return self.connection.execute(query, values).lastrowid or 0

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.guarded():
            return self.connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction, rolled back if it raises."""
        with self.guarded():
            self.connection.execute("begin immediate")
            try:
                yield
            except BaseException:
                self.connection.execute("rollback")
                raise
            self.connection.execute("commit")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Translate errors of SQLite and of the file system into LlamacliError. Queries are limited to 60 seconds."""
        self._deadline = time.monotonic() + _MAX_SECONDS
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LlamacliError(f"{self.path}: {reason}", hint=self._hint) from error
        except UnicodeDecodeError as error:  # of a message of SQLite's, with a name from a corrupt schema
            raise self.corrupt("its schema is not UTF-8 text") from error

    def corrupt(self, reason: str) -> LlamacliError:
        """The error for content that no version of llamacli wrote."""
        return LlamacliError(f"{self.path} is corrupt: {reason}", hint=self._hint)

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def close(self) -> None:
        """Close the database."""
        self.connection.close()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, which may contain triggers. (`executescript` would end the transaction.)"""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
