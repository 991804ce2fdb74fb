"""The changes of one transaction: rows of texts and files, and with them the blocks of vectors and the full-text index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from llamacli.store.vectors import blocks, words
from llamacli.store.vectors.entries import NewFile, NewText, Passage, Root, hash_of
from llamacli.store.vectors.schema import next_number


class Changes:
    """Changes of an index in a transaction, complete with `finish`. `added` and `removed` count texts."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._next = next_number(database)
        self._has_words = words.is_ready(database)
        self._new: dict[int, bytes] = {}
        self._gone: list[int] = []
        self.added = self.removed = 0

    def put_text(self, new: NewText) -> None:
        """Add a text, in place of those with the same id, or with the same content."""
        content = hash_of(new.id, new.text)
        query = "SELECT number FROM texts WHERE id = ? OR hash = ?"
        self.remove(number for (number,) in self._database.execute(query, (new.id, content)).fetchall())
        self._insert(new.id, new.text, new.vector, None)

    def put_root(self, root: Root) -> None:
        """Add a root. If its files are to be split otherwise than before, all of them count as changed."""
        values = (root.path, root.size, root.overlap)
        if not self._database.execute("SELECT 1 FROM root WHERE (path, size, overlap) = (?, ?, ?)", values).fetchone():
            self._database.execute("UPDATE file SET mtime = 0, digest = x'' WHERE root = ?", (root.path,))
            self._database.execute("INSERT OR REPLACE INTO root VALUES (?, ?, ?)", values)

    def put_file(self, new: NewFile) -> None:
        """Make the passages of a file those of its present content. Passages whose text is the same stay."""
        if new.passages is not None:
            self._put_passages(new.id, new.passages)
        state = new.state
        values = (new.id, new.root, state.size, state.mtime, state.digest, state.is_text)
        self._database.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)", values)

    def _put_passages(self, identity: str, passages: Sequence[tuple[Passage, bytes]]) -> None:
        query = "SELECT number, text, place FROM texts WHERE id = ? ORDER BY number"
        known = {text: (number, place) for number, text, place in self._database.execute(query, (identity,))}
        for passage, vector in _different(passages):
            number, place = known.pop(passage.text, (None, None))
            if number is None:
                self._insert(identity, passage.text, vector, passage.place)
            elif place != passage.place:
                self._database.execute("UPDATE texts SET place = ? WHERE number = ?", (passage.place, number))
        self.remove(number for number, _ in known.values())

    def remove_file(self, identity: str) -> None:
        """Remove a file and its passages."""
        query = "SELECT number FROM texts WHERE id = ?"
        self.remove(number for (number,) in self._database.execute(query, (identity,)).fetchall())
        self._database.execute("DELETE FROM file WHERE id = ?", (identity,))

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove texts by number."""
        for number in numbers:
            if self._has_words:
                (text,) = self._database.execute("SELECT text FROM texts WHERE number = ?", (number,)).fetchone()
                words.remove(self._database, number, text)
            self._database.execute("DELETE FROM texts WHERE number = ?", (number,))
            self.removed += 1
            if self._new.pop(number, None) is None:
                self._gone.append(number)

    def _insert(self, identity: str | None, text: str, vector: bytes, place: str | None) -> None:
        number, self._next = self._next, self._next + 1
        values = (number, hash_of(identity, text), identity, text, vector, place)
        self._database.execute("INSERT INTO texts (number, hash, id, text, vector, place) VALUES (?, ?, ?, ?, ?, ?)", values)
        if self._has_words:
            words.add(self._database, number, text)
        self._new[number] = vector
        self.added += 1

    def finish(self) -> None:
        """Bring the blocks up to date."""
        blocks.erase(self._database, self._gone)
        blocks.append(self._database, list(self._new), list(self._new.values()))
        self._database.execute("INSERT OR REPLACE INTO about VALUES ('next', ?)", (str(self._next),))


def _different(passages: Sequence[tuple[Passage, bytes]]) -> Iterable[tuple[Passage, bytes]]:
    """Return the passages without those whose text has occurred before."""
    first: dict[str, tuple[Passage, bytes]] = {}
    for passage, vector in passages:
        first.setdefault(passage.text, (passage, vector))
    return first.values()
