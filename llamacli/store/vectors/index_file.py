"""The file of an index: how it is opened and created, its transactions and its errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llamacli.errors import LlamacliError, UsageError
from llamacli.store.files.records import fits, is_text
from llamacli.store.vectors.schema import FIRST_FORMAT, FORMAT, PAGE_BYTES, TABLES

_BUSY_SECONDS = 10
_INTERNAL = ("format", "next", "words")
"""Names in `about` that say nothing about the vectors."""


class IndexFile:
    """An open file with the tables of an index. A context manager.

    With `create` the file may be missing or empty, and an empty index in memory takes its place until it is created.

    Raises (the constructor):
        UsageError: if the file is missing (unless `create`) or is not an index.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if path.is_dir():
            hint = f"llamacli embed index add DB {path} indexes its files"
            raise UsageError(f"cannot use the index {path}: it is a folder", hint=hint)
        if not create and not path.is_file():
            raise UsageError(f"index not found: {path}", hint=f"llamacli embed index add {path} creates it")
        self._connection: sqlite3.Connection | None = None
        self._exists = False
        if path.exists():
            self._connection = self._connect(path.absolute())
            try:
                self._exists = self._holds_index(create)
            except BaseException:
                self.close()
                raise
        else:
            self._check_folder()
        if not self._exists:  # until the first commit an index in memory takes its place
            self.close()
            self._connection = self._connect(None)

    def _check_folder(self) -> None:
        """Report an unusable folder before the model is loaded and the first texts are embedded."""
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise UsageError(f"cannot create the index {self.path}: folder not found: {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise LlamacliError(f"cannot create the index {self.path}: {folder} is not writable")

    def _connect(self, file: Path | None) -> sqlite3.Connection:
        """Open the file, which SQLite creates at once if it is missing; None is an empty index in memory."""
        with self._guarded():
            connection = sqlite3.connect(file or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                connection.execute("PRAGMA secure_delete = ON")  # overwrite removed and replaced texts in the file
                connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
                for statement in () if file else TABLES:
                    connection.execute(statement)
            except BaseException:
                connection.close()
                raise
        return connection

    def _holds_index(self, create: bool) -> bool:
        """Return whether the file is an index, False if it is empty and `create` is set. Raises UsageError otherwise."""
        tables = {name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables and create:
            return False
        if {"about", "texts"} <= tables:
            about = dict(self._rows("SELECT name, value FROM about"))
            is_unfinished = not about and not self.count()  # its creation was interrupted
            if about.get("format") in (FORMAT, FIRST_FORMAT) or is_unfinished:
                return True
        raise UsageError(f"{self.path} is not a vector index of llamacli")

    @property
    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LlamacliError("the index is closed")
        return self._connection

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Translate SQLite's errors."""
        try:
            yield
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
                raise UsageError(f"{self.path} is not a vector index of llamacli") from error
            raise LlamacliError(f"cannot use the index {self.path}: {error}") from error
        except OverflowError as error:
            raise self._corrupt("it has a number that is too large") from error
        except UnicodeDecodeError as error:  # of a message of SQLite's, with a name from a corrupt schema
            raise self._corrupt("its schema is not UTF-8 text") from error

    def _corrupt(self, reason: str) -> UsageError:
        return UsageError(f"{self.path} is corrupt: {reason}")

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self._guarded():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block in a transaction with the write lock, rolled back if it raises."""
        with self._guarded():
            database = self._database
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # SQLite itself rolls back if the disk is full
                    database.execute("ROLLBACK")
                raise

    def about(self) -> dict[str, str]:
        """The parameters of the vectors."""
        rows = self._rows("SELECT name, value FROM about")
        if not fits(rows, is_text, is_text):
            raise self._corrupt("a parameter of its vectors is not text")
        return {name: value for name, value in rows if name not in _INTERNAL}

    def count(self) -> int:
        """The number of texts."""
        return int(self._rows("SELECT count(*) FROM texts")[0][0])

    def close(self) -> None:
        """Close the file without saving uncommitted changes."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
