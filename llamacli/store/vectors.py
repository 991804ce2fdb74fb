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
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from llamacli.errors import LlamacliError, UsageError

FORMAT = "llamacli-vectors-1"
CHUNK = 512
"""Vectors that a search has in memory at once: what fits the processor's cache is five times as fast as 4,096."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A text in the index."""

    number: int
    id: str | None
    text: str


class VectorIndex:
    """An open index. A context manager; changes are kept when `commit` is called.

    Raises (when built):
        UsageError: the file is missing (unless `create`), or is no index.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if not create and not path.is_file():
            raise UsageError(f"there is no index {path}", hint=f"llamacli embed index add {path} makes one")
        self.path = path
        self._connection: sqlite3.Connection | None = None
        try:
            self._connection = sqlite3.connect(path)
            self._connection.execute("PRAGMA secure_delete = ON")  # what was removed or replaced is not left in the file
            self._check(create)
        except sqlite3.Error as error:
            self.close()
            raise self._failure(error) from error
        except BaseException:
            self.close()
            raise

    def _check(self, create: bool) -> None:
        database = self._database
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables and create:
            database.execute("CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            database.execute(
                "CREATE TABLE texts (number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, id TEXT, text TEXT NOT NULL,"
                " vector BLOB NOT NULL)"
            )
            database.execute("INSERT INTO about VALUES ('format', ?)", (FORMAT,))
        elif not {"about", "texts"} <= tables or self.about().get("format") != FORMAT:
            raise UsageError(f"{self.path} is no index of llamacli's")
        if create:  # else each text with an id would be looked for among all of them
            database.execute("CREATE INDEX IF NOT EXISTS texts_by_id ON texts (id)")

    @property
    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LlamacliError("the index is closed")
        return self._connection

    def _failure(self, error: Exception) -> LlamacliError:
        if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
            return UsageError(f"{self.path} is no index of llamacli's")
        return LlamacliError(f"cannot use the index {self.path}: {error}")

    def about(self) -> dict[str, str]:
        """What the vectors were made with."""
        try:
            return dict(self._database.execute("SELECT name, value FROM about"))
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def require(self, made_with: Mapping[str, str]) -> None:
        """Holds that vectors made so fit those that are here; an empty index takes any.

        Raises:
            UsageError: they do not; the message names the first difference.
        """
        here = self.about()
        if "fingerprint" not in here:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", made_with.items())
            return
        for name, value in made_with.items():
            if name in ("model", "reference") or here.get(name) == value:
                continue
            what = "another model" if name == "fingerprint" else f"{name} {here.get(name) or '(none)'}, not {value or '(none)'}"
            known = f"it was made with {here.get('model', 'an unknown model')}" if name == "fingerprint" else None
            raise UsageError(f"{self.path} holds vectors of {what}", hint=known)

    def hashes(self) -> set[bytes]:
        """The `hash_of` each text that is here."""
        try:
            return {content for (content,) in self._database.execute("SELECT hash FROM texts")}
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def add(self, identity: str | None, text: str, vector: bytes) -> None:
        """Adds a text with its vector, float32 of length 1. With an id, it takes the place of an earlier one of that id."""
        try:
            if identity is not None:
                self._database.execute("DELETE FROM texts WHERE id = ?", (identity,))
            self._database.execute(
                "INSERT OR REPLACE INTO texts (hash, id, text, vector) VALUES (?, ?, ?, ?)",
                (hash_of(identity, text), identity, text, vector),
            )
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def remove(self, identities: Iterable[str], numbers: Iterable[int]) -> int:
        """Removes the texts with these ids and these numbers for good, and returns how many they were: all, or none.

        Raises:
            UsageError: there is no such text.
        """
        by_id, by_number = "SELECT number FROM texts WHERE id = ?", "SELECT number FROM texts WHERE number = ?"
        wanted: list[tuple[str, str | int]] = [(by_id, identity) for identity in identities]
        wanted += [(by_number, number) for number in numbers]
        found: set[int] = set()
        try:
            for question, value in wanted:
                rows = self._database.execute(question, (value,)).fetchall()
                if not rows:
                    what = "number" if question == by_number else "id"
                    raise UsageError(f"{self.path} has no text with the {what} {value}", hint="nothing was removed")
                found.update(number for (number,) in rows)
            self._database.executemany("DELETE FROM texts WHERE number = ?", [(number,) for number in found])
        except (sqlite3.Error, OverflowError) as error:
            raise self._failure(error) from error
        self.commit()
        return len(found)

    def commit(self) -> None:
        """Makes what was added last."""
        try:
            self._database.commit()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def vectors(self, size: int) -> Iterator[tuple[list[int], bytes]]:
        """All vectors, each of `size` bytes, some hundreds at a time: their numbers, and their bytes one after the other."""
        try:
            with closing(self._database.execute("SELECT number, vector FROM texts ORDER BY number")) as rows:
                while chunk := rows.fetchmany(CHUNK):
                    if any(not isinstance(vector, bytes) or len(vector) != size for _, vector in chunk):
                        raise UsageError(f"{self.path} is damaged: it holds vectors of another size")
                    yield [number for number, _ in chunk], b"".join(vector for _, vector in chunk)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def entry(self, number: int) -> Entry:
        """A text by its number."""
        try:
            row = self._database.execute("SELECT number, id, text FROM texts WHERE number = ?", (number,)).fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        if row is None:
            raise LlamacliError(f"the index has no text {number}")
        return Entry(*row)

    def count(self) -> int:
        """How many texts there are."""
        try:
            return int(self._database.execute("SELECT count(*) FROM texts").fetchone()[0])
        except sqlite3.Error as error:
            raise self._failure(error) from error

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
