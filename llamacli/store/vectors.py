"""A small local index of texts and their vectors: one SQLite file, searched exactly.

| table | content |
|---|---|
| `about` | name and value: `format`, and the parameters of the vectors (`model`, `fingerprint`, `pooling`, ...) |
| `texts` | `hash` of id and text, `id`, `text`, `vector` (float32, little-endian, of length 1) |

Exact search reads every vector; 100,000 of 384 dimensions take about 0.1 s. Many millions need other software.

sqlite-vec is not used: its search is exact too, and about as fast (0.05 s for these; loading the model takes 0.3 s), but the
`sqlite3` of many Pythons cannot load extensions, and only that extension could read the vectors.
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
from llamacli.store.files.records import fits, is_bytes, is_integer, is_text, optional

FORMAT = "llamacli-vectors-1"
CHUNK = 512
"""Vectors that a search loads at once: a chunk that fits the processor's cache is five times as fast as 4,096."""

_BUSY_SECONDS = 10

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS texts (
        number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, id TEXT, text TEXT NOT NULL, vector BLOB NOT NULL)""",
    # replacing a text by its id would otherwise scan all texts
    "CREATE INDEX IF NOT EXISTS texts_by_id ON texts (id)",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A text in the index."""

    number: int
    id: str | None
    text: str


class VectorIndex:
    """An open index. A context manager; `commit` saves the changes.

    With `create` the file may be missing or empty: the first `commit` with a text creates it. `added` and `replaced` count the
    texts saved by this object, and those of them that replaced another.

    Raises (the constructor):
        UsageError: if the file is missing (unless `create`) or is not an index.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.added = self.replaced = 0
        self._made_with: dict[str, str] = {}
        self._waiting: list[tuple[str | None, str, bytes]] = []
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
                for statement in () if file else _SCHEMA:
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
            about = self.about()
            if about.get("format") == FORMAT or (not about and not self.count()):  # its creation was interrupted
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
        return dict(rows)

    def require(self, made_with: Mapping[str, str]) -> None:
        """Require that new vectors have the parameters `made_with`; an empty index accepts any.

        Raises:
            UsageError: if the index has vectors of other parameters; the message names the first difference.
        """
        self._made_with = dict(made_with)
        if not self.count():
            return
        about = self.about()
        for name, value in made_with.items():
            if name in ("model", "reference", "server") or about.get(name) == value:
                continue
            if name == "fingerprint":
                hint = f"it was created with {about.get('model', 'an unknown model')}"
                raise UsageError(f"{self.path} has vectors of another model", hint=hint)
            raise UsageError(f"{self.path} has vectors of {name} {about.get(name) or '(none)'}, not {value or '(none)'}")

    def hashes(self) -> Iterator[tuple[str | None, bytes]]:
        """The id and `hash_of` of each text."""
        with self._guarded(), closing(self._database.execute("SELECT id, hash FROM texts")) as rows:
            for row in rows:
                if not fits((row,), optional(is_text), is_bytes):
                    raise self._corrupt("an id is not text, or a hash is not binary")
                yield row

    def add(self, identity: str | None, text: str, vector: bytes) -> None:
        """Add a text with its vector, float32 of length 1. It replaces an earlier text with the same id."""
        self._waiting.append((identity, text, vector))

    def commit(self) -> None:
        """Save the added texts, all or none; they are dropped if that fails.

        Raises:
            UsageError: if another process has created this index meanwhile, with vectors of other parameters.
            LlamacliError: if the file cannot be written.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if not self._exists:
            file = self._connect(self.path.absolute())
            self.close()
            self._connection, self._exists = file, True
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
        """Remove the texts with these ids and numbers, all or none, and return their number.

        Raises:
            UsageError: if one does not exist.
        """
        by_id, by_number = "SELECT number FROM texts WHERE id = ?", "SELECT number FROM texts WHERE number = ?"
        wanted: list[tuple[str, str | int]] = [(by_id, identity) for identity in identities]
        wanted += [(by_number, number) for number in numbers]
        found: set[int] = set()
        with self._transaction() as database:
            for question, value in wanted:
                try:
                    rows = self._rows(question, value)
                except OverflowError:  # larger than SQLite's integers
                    rows = []
                if not rows:
                    field = "number" if question == by_number else "id"
                    raise UsageError(f"{self.path} has no text with the {field} {value}", hint="nothing was removed")
                found.update(number for (number,) in rows)
            database.executemany("DELETE FROM texts WHERE number = ?", [(number,) for number in found])
        return len(found)

    def vectors(self, size: int) -> Iterator[tuple[list[int], bytes]]:
        """All vectors, each of `size` bytes, in chunks: their numbers, and their concatenated bytes."""
        query = "SELECT number, vector FROM texts ORDER BY number"
        with self._guarded(), closing(self._database.execute(query)) as rows:
            while chunk := rows.fetchmany(CHUNK):
                if any(not isinstance(vector, bytes) or len(vector) != size for _, vector in chunk):
                    raise self._corrupt("it has vectors of another size")
                yield [number for number, _ in chunk], b"".join(vector for _, vector in chunk)

    def entry(self, number: int) -> Entry:
        """The text with this number."""
        rows = self._rows("SELECT number, id, text FROM texts WHERE number = ?", number)
        if not rows:
            raise LlamacliError(f"the index has no text {number}")
        if not fits(rows, is_integer, optional(is_text), is_text):
            raise self._corrupt(f"text {number} or its id is not text")
        return Entry(*rows[0])

    def count(self) -> int:
        """The number of texts."""
        return int(self._rows("SELECT count(*) FROM texts")[0][0])

    def close(self) -> None:
        """Close the file without saving uncommitted texts."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def hash_of(identity: str | None, text: str) -> bytes:
    """The SHA-256 hash of an id and a text, which identifies the content."""
    return hashlib.sha256(f"{identity or ''}\0{text}".encode("utf-8", "surrogatepass")).digest()
