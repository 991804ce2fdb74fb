"""A small local index of texts and their vectors: one SQLite file, searched exactly.

| table | holds |
|---|---|
| `about` | name and value: `format`, and what the vectors were made with (`model`, `fingerprint`, `pooling`, ...) |
| `texts` | `hash` of id and text, `id`, `text`, `vector` (float32, little-endian, of length 1) |

Exact search reads every vector; 100,000 of 384 numbers take about 0.1 s. An index of many millions wants other software.

Why not sqlite-vec: its search is exact too, and of the same order (0.05 s for these, while loading the model takes 0.3 s). But
the `sqlite3` of many Pythons cannot load extensions, and the vectors would lie in a format that only that extension reads.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llamacli.errors import LlamacliError, UsageError

FORMAT = "llamacli-vectors-1"
CHUNK = 512
"""Vectors that a search has in memory at once: what fits the processor's cache is five times as fast as 4,096."""

_BUSY_SECONDS = 10

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS texts (
        number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, id TEXT, text TEXT NOT NULL, vector BLOB NOT NULL)""",
    # else each text with an id would be looked for among all of them
    "CREATE INDEX IF NOT EXISTS texts_by_id ON texts (id)",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A text in the index."""

    number: int
    id: str | None
    text: str


class VectorIndex:
    """An open index. A context manager; changes are kept when `commit` is called.

    With `create` the file may be missing, or be empty: it is made by the first `commit` that has a text to keep. `added` and
    `replaced` count the texts that were kept here, and those of them that took the place of another.

    Raises (when built):
        UsageError: the file is missing (unless `create`), or is no index.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.added = self.replaced = 0
        self._made_with: dict[str, str] = {}
        self._waiting: list[tuple[str | None, str, bytes]] = []
        if not create and not path.is_file():
            raise UsageError(f"there is no index {path}", hint=f"llamacli embed index add {path} makes one")
        self._connection: sqlite3.Connection | None = None
        self._is_made = False
        if path.exists():
            self._connection = self._connect(path.absolute())
            try:
                self._is_made = self._holds_index(create)
            except BaseException:
                self.close()
                raise
        else:
            self._check_folder()
        if not self._is_made:  # what is in memory stands in its place
            self.close()
            self._connection = self._connect(None)

    def _check_folder(self) -> None:
        """What would otherwise come out only when the model is loaded and the first texts are embedded."""
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise UsageError(f"cannot make the index {self.path}: there is no folder {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise LlamacliError(f"cannot make the index {self.path}: {folder} may not be written to")

    def _connect(self, file: Path | None) -> sqlite3.Connection:
        """The file, which SQLite makes at once if there is none; None is an empty index in memory."""
        with self._guarded():
            connection = sqlite3.connect(file or ":memory:", timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                connection.execute("PRAGMA secure_delete = ON")  # what was removed or replaced is not left in the file
                for statement in () if file else _SCHEMA:
                    connection.execute(statement)
            except BaseException:
                connection.close()
                raise
        return connection

    def _holds_index(self, create: bool) -> bool:
        """Whether the file is an index; with `create` it may hold nothing yet. Raises UsageError if it is anything else."""
        tables = {name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables and create:
            return False
        if {"about", "texts"} <= tables:
            about = self.about()
            if about.get("format") == FORMAT or (not about and not self.count()):  # its making was interrupted
                return True
        raise UsageError(f"{self.path} is no index of llamacli's")

    @property
    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LlamacliError("the index is closed")
        return self._connection

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """SQLite's errors, as ours."""
        try:
            yield
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
                raise UsageError(f"{self.path} is no index of llamacli's") from error
            raise LlamacliError(f"cannot use the index {self.path}: {error}") from error

    def _rows(self, query: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self._guarded():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """What is in the block happens as a whole or not at all, and nobody else writes meanwhile."""
        with self._guarded():
            database = self._database
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # SQLite has ended it itself if the disk is full
                    database.execute("ROLLBACK")
                raise

    def about(self) -> dict[str, str]:
        """What the vectors were made with."""
        return dict(self._rows("SELECT name, value FROM about"))

    def require(self, made_with: Mapping[str, str]) -> None:
        """Holds that vectors made so fit those that are here; an empty index takes any. What is added was made so.

        Raises:
            UsageError: they do not; the message names the first difference.
        """
        self._made_with = dict(made_with)
        if not self.count():
            return
        here = self.about()
        for name, value in made_with.items():
            if name in ("model", "reference") or here.get(name) == value:
                continue
            what = "another model" if name == "fingerprint" else f"{name} {here.get(name) or '(none)'}, not {value or '(none)'}"
            known = f"it was made with {here.get('model', 'an unknown model')}" if name == "fingerprint" else None
            raise UsageError(f"{self.path} holds vectors of {what}", hint=known)

    def hashes(self) -> Iterator[tuple[str | None, bytes]]:
        """The id and the `hash_of` each text that is here."""
        with self._guarded(), closing(self._database.execute("SELECT id, hash FROM texts")) as rows:
            yield from rows

    def add(self, identity: str | None, text: str, vector: bytes) -> None:
        """Adds a text with its vector, float32 of length 1. With an id, it takes the place of an earlier one of that id."""
        self._waiting.append((identity, text, vector))

    def commit(self) -> None:
        """Makes what was added last, all of it; it is forgotten if that fails.

        Raises:
            UsageError: somebody else has begun this index meanwhile, with vectors that these do not fit.
            LlamacliError: it cannot be written.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if not self._is_made:
            file = self._connect(self.path.absolute())
            self.close()
            self._connection, self._is_made = file, True
        replaced = 0
        with self._transaction() as database:
            self._holds_index(create=True)
            for statement in _SCHEMA:
                database.execute(statement)
            self.require(self._made_with)
            about = {"format": FORMAT, **self._made_with}
            database.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", about.items())
            for identity, text, vector in waiting:
                content = hash_of(identity, text)
                replaced += database.execute("DELETE FROM texts WHERE id = ? OR hash = ?", (identity, content)).rowcount
                database.execute(
                    "INSERT INTO texts (hash, id, text, vector) VALUES (?, ?, ?, ?)", (content, identity, text, vector)
                )
        self.added += len(waiting)
        self.replaced += replaced

    def remove(self, identities: Iterable[str], numbers: Iterable[int]) -> int:
        """Removes the texts with these ids and these numbers for good, and returns how many they were: all, or none.

        Raises:
            UsageError: there is no such text.
        """
        by_id, by_number = "SELECT number FROM texts WHERE id = ?", "SELECT number FROM texts WHERE number = ?"
        wanted: list[tuple[str, str | int]] = [(by_id, identity) for identity in identities]
        wanted += [(by_number, number) for number in numbers]
        found: set[int] = set()
        with self._transaction() as database:
            for question, value in wanted:
                try:
                    rows = self._rows(question, value)
                except OverflowError:  # a number that SQLite cannot hold
                    rows = []
                if not rows:
                    what = "number" if question == by_number else "id"
                    raise UsageError(f"{self.path} has no text with the {what} {value}", hint="nothing was removed")
                found.update(number for (number,) in rows)
            database.executemany("DELETE FROM texts WHERE number = ?", [(number,) for number in found])
        return len(found)

    def vectors(self, size: int) -> Iterator[tuple[list[int], bytes]]:
        """All vectors, each of `size` bytes, some hundreds at a time: their numbers, and their bytes one after the other."""
        query = "SELECT number, vector FROM texts ORDER BY number"
        with self._guarded(), closing(self._database.execute(query)) as rows:
            while chunk := rows.fetchmany(CHUNK):
                if any(not isinstance(vector, bytes) or len(vector) != size for _, vector in chunk):
                    raise UsageError(f"{self.path} is damaged: it holds vectors of another size")
                yield [number for number, _ in chunk], b"".join(vector for _, vector in chunk)

    def entry(self, number: int) -> Entry:
        """A text by its number."""
        rows = self._rows("SELECT number, id, text FROM texts WHERE number = ?", number)
        if not rows:
            raise LlamacliError(f"the index has no text {number}")
        return Entry(*rows[0])

    def count(self) -> int:
        """How many texts there are."""
        return int(self._rows("SELECT count(*) FROM texts")[0][0])

    def close(self) -> None:
        """Closes the file; what was not committed is forgotten."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def hash_of(identity: str | None, text: str) -> bytes:
    """What tells one content from another."""
    return hashlib.sha256(f"{identity or ''}\0{text}".encode("utf-8", "surrogatepass")).digest()
