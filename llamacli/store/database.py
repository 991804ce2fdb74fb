"""A SQLite database of the user's own: in a folder that only they may enter, used by many programs at once, with versions."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llamacli.errors import LlamacliError

_BUSY_SECONDS = 10


class Database:
    """The database, made if there is none. `hint` says in errors what does without it. `close()` may be called twice.

    Raises (also by every method):
        LlamacliError: it cannot be read or written, or was made by a newer version.
    """

    def __init__(self, path: Path, *, schema: str, version: int, hint: str) -> None:
        self.path = path
        self._hint = hint
        with self.guarded():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            path.chmod(0o600)
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                self._prepare(schema, version)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, schema: str, version: int) -> None:
        run = self._connection.execute
        run("pragma journal_mode = wal")
        run("pragma synchronous = normal")
        run("pragma foreign_keys = on")
        with self.transaction():
            found = run("pragma user_version").fetchone()[0]
            if found > version:
                raise LlamacliError(f"{self.path} was made by a newer llamacli", hint=self._hint)
            if found == 0:
                for statement in filter(str.strip, schema.split(";")):
                    run(statement)
                run(f"pragma user_version = {version}")

    def execute(self, query: str, values: Sequence[Any] = ()) -> int:
        """Changes something; the number of the row that was inserted last."""
        with self.guarded():
            return self._connection.execute(query, values).lastrowid or 0

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Asks for something."""
        with self.guarded():
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is in the block happens as a whole or not at all."""
        with self.guarded():
            self._connection.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """The errors of SQLite and of the file system, as ours."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LlamacliError(f"{self.path}: {reason}", hint=self._hint) from error

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()
