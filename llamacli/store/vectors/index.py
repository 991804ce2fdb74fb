"""An open index of texts and vectors. Its tables are in `schema`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from llamacli.errors import LlamacliError, UsageError
from llamacli.store.files.records import fits, is_bytes, is_integer, is_text, optional
from llamacli.store.vectors import blocks, words
from llamacli.store.vectors.changes import Changes
from llamacli.store.vectors.entries import Entry, FileState, NewFile, NewText, Root, identity_of
from llamacli.store.vectors.index_file import IndexFile
from llamacli.store.vectors.schema import prepare

CHUNK = 512
"""Vectors that are read at once."""


class VectorIndex(IndexFile):
    """An open index. A context manager; `commit` saves the changes.

    With `create` the file may be missing or empty: the first `commit` with a text creates it. `added` counts the texts saved by
    this object, `removed` those that it removed or replaced.

    Raises (the constructor):
        UsageError: if the file is missing (unless `create`) or is not an index.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.added = self.removed = 0
        self._made_with: dict[str, str] = {}
        self._waiting: list[NewText | NewFile | Root | str] = []
        super().__init__(path, create=create)

    @property
    def is_upgraded(self) -> bool:
        """False for an index of an earlier version, without blocks, places and files, until something is written."""
        return self._rows("SELECT count(*) FROM sqlite_master WHERE name = 'block'") != [(0,)]

    @property
    def has_words(self) -> bool:
        """True if texts can be found by their words."""
        with self._guarded():
            return words.is_ready(self._database)

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
        """The id and `hash_of` of each text that is not of a file of a root."""
        query = "SELECT id, hash FROM texts"
        if self.is_upgraded:
            query += " WHERE id IS NULL OR id NOT IN (SELECT id FROM file)"
        with self._guarded(), closing(self._database.execute(query)) as rows:
            for row in rows:
                if not fits((row,), optional(is_text), is_bytes):
                    raise self._corrupt("an id is not text, or a hash is not binary")
                yield row

    def add(self, identity: str | None, text: str, vector: bytes) -> None:
        """Add a text with its vector, float32 of length 1. It replaces an earlier text with the same id."""
        self._waiting.append(NewText(identity, text, vector))

    def put_root(self, root: Root) -> None:
        """Add a root, or change how its files are split."""
        self._waiting.append(root)

    def put_file(self, new: NewFile) -> None:
        """Add a file with its passages, or replace those that it had."""
        self._waiting.append(new)

    def remove_file(self, identity: str) -> None:
        """Remove a file that is gone, with its passages."""
        self._waiting.append(identity)

    def commit(self) -> None:
        """Save the changes, all or none; they are dropped if that fails.

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
        with self._transaction() as database:
            self._holds_index(create=True)
            prepare(database)
            self.require(self._made_with)
            database.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", self._made_with.items())
            changes = Changes(database)
            for change in waiting:
                _apply(changes, change)
            changes.finish()
        self.added += changes.added
        self.removed += changes.removed

    def remove(self, names: Iterable[str], numbers: Iterable[int]) -> int:
        """Remove the texts with these ids and numbers, all or none, and return their number.

        An id may be the path of a root, which is forgotten with its files, or of a file, relative to the current folder.

        Raises:
            UsageError: if one does not exist.
        """
        with self._transaction() as database:
            prepare(database)
            changes = Changes(database)
            found = {number for name in names for number in self._texts_of(name)}
            for number in numbers:
                if not _is_number(number) or not self._rows("SELECT 1 FROM texts WHERE number = ?", number):
                    raise self._not_found(f"the number {number}")
                found.add(number)
            changes.remove(found)
            changes.finish()
            if not self.count():
                database.execute("DELETE FROM file")
            if words.is_ready(database):
                words.forget_removed(database)
        return len(found)

    def _texts_of(self, name: str) -> Iterator[int]:
        """The numbers of the texts with an id, or of a root. Files and roots of that name are forgotten."""
        known = False
        for identity in dict.fromkeys((name, identity_of(str(Path(name).resolve())))):
            rows = self._rows("SELECT number FROM texts WHERE id IN (SELECT id FROM file WHERE root = ?)", identity)
            rows += self._rows("SELECT number FROM texts WHERE id = ?", identity)
            is_root = bool(self._rows("SELECT 1 FROM root WHERE path = ?", identity))
            self._database.execute("DELETE FROM file WHERE id = ? OR root = ?", (identity, identity))
            self._database.execute("DELETE FROM root WHERE path = ?", (identity,))
            known = known or bool(rows) or is_root
            yield from (number for (number,) in rows)
        if not known:
            raise self._not_found(f"the id {name}")

    def _not_found(self, what: str) -> UsageError:
        return UsageError(f"{self.path} has no text with {what}", hint="nothing was removed")

    def vectors(self, size: int) -> Iterator[tuple[list[int], bytes]]:
        """All vectors, each of `size` bytes, in chunks: their numbers, and their concatenated bytes."""
        query = "SELECT number, vector FROM texts ORDER BY number"
        with self._guarded(), closing(self._database.execute(query)) as rows:
            while chunk := rows.fetchmany(CHUNK):
                yield self._joined(chunk, size)

    def vectors_of(self, numbers: Sequence[int], size: int) -> Iterator[tuple[list[int], bytes]]:
        """The vectors of some texts, in chunks as `vectors`; texts that are not there are left out."""
        for start in range(0, len(numbers), CHUNK):
            part = numbers[start : start + CHUNK]
            marks = ", ".join("?" * len(part))
            query = f"SELECT number, vector FROM texts WHERE number IN ({marks}) ORDER BY number"  # noqa: S608
            if rows := self._rows(query, *part):
                yield self._joined(rows, size)

    def _joined(self, rows: list[tuple[Any, ...]], size: int) -> tuple[list[int], bytes]:
        if any(not isinstance(vector, bytes) or len(vector) != size for _, vector in rows):
            raise self._corrupt("it has vectors of another size")
        return [number for number, _ in rows], b"".join(vector for _, vector in rows)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let other processes change nothing while the block reads, with the file mapped into memory."""
        with self._guarded():
            self._database.execute(f"PRAGMA mmap_size = {1 << 40}")  # as much as this SQLite allows
            self._database.execute("BEGIN")
            try:
                self._rows("SELECT count(*) FROM about")
                yield
            finally:
                if self._database.in_transaction:
                    self._database.execute("COMMIT")

    def block_keys(self) -> list[int]:
        """The keys of the blocks of vectors."""
        return [first for (first,) in self._rows("SELECT first FROM block ORDER BY first")]

    def read_block(self, first: int) -> tuple[bytes, bytes, bytes]:
        """The content of a block. See `blocks.read`."""
        with self._guarded():
            return blocks.read(self._database, first)

    def find_words(self, question: str, count: int) -> list[tuple[float, int]]:
        """Score and number of the `count` texts that fit the words of a question best. See `words.find`."""
        with self._guarded():
            return words.find(self._database, question, count)

    def entry(self, number: int) -> Entry:
        """The text with this number."""
        columns = "number, id, text, place" if self.is_upgraded else "number, id, text, NULL"
        rows = self._rows(f"SELECT {columns} FROM texts WHERE number = ?", number)  # noqa: S608
        if not rows:
            raise LlamacliError(f"the index has no text {number}")
        if not fits(rows, is_integer, optional(is_text), is_text, optional(is_text)):
            raise self._corrupt(f"text {number}, its id or its place is not text")
        return Entry(*rows[0])

    def roots(self) -> list[Root]:
        """The folders and files that are followed."""
        rows = self._rows("SELECT path, size, overlap FROM root ORDER BY path") if self.is_upgraded else []
        if not fits(rows, is_text, is_integer, is_integer) or not all(0 <= overlap < size for _, size, overlap in rows):
            raise self._corrupt("a folder has wrong values")
        return [Root(*row) for row in rows]

    def files(self, root: str) -> dict[str, FileState]:
        """The files of a root, by id."""
        query = "SELECT id, size, mtime, digest, is_text FROM file WHERE root = ?"
        rows = self._rows(query, root) if self.is_upgraded else []
        if not fits(rows, is_text, is_integer, is_integer, is_bytes, is_integer):
            raise self._corrupt("a file has values of wrong types")
        return {identity: FileState(size, mtime, digest, bool(text)) for identity, size, mtime, digest, text in rows}

    def passage_vectors(self, identity: str) -> dict[str, bytes]:
        """The vectors of the passages of a file, by text."""
        rows = self._rows("SELECT text, vector FROM texts WHERE id = ?", identity)
        if not fits(rows, is_text, is_bytes):
            raise self._corrupt(f"a passage of {identity} has values of wrong types")
        return dict(rows)


def _apply(changes: Changes, change: NewText | NewFile | Root | str) -> None:
    if isinstance(change, NewText):
        changes.put_text(change)
    elif isinstance(change, NewFile):
        changes.put_file(change)
    elif isinstance(change, Root):
        changes.put_root(change)
    else:
        changes.remove_file(change)


def _is_number(value: int) -> bool:
    """Return whether SQLite's integers can hold a number."""
    return abs(value) < 1 << 63
