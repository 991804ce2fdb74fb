"""The tables of an index, and the upgrade of those that earlier versions wrote.

| table | content |
|---|---|
| `about` | name and value: `format`, `next` (the number of the next text), `words`, and the parameters of the vectors |
| `texts` | `hash` of id and text, `id`, `text`, `vector` (float32, little-endian, of length 1), `place` in the file |
| `block` | the vectors once more, as 8-bit integers, thousands in a row: what a search reads (see `blocks`) |
| `root` | a folder or a file whose changes are followed, and how it is split into passages |
| `file` | a file of a root as it was when it was read; its path is the `id` of its passages |
| `words` | the full-text index of the texts, if this SQLite has FTS5 (see `words`) |

sqlite-vec is not used: its search is exact too, and about as fast, but the `sqlite3` of many Pythons cannot load extensions,
and only that extension could read the vectors.
"""

from __future__ import annotations

import sqlite3

from llamacli.store.vectors import blocks, words

FORMAT, FIRST_FORMAT = "llamacli-vectors-2", "llamacli-vectors-1"

PAGE_BYTES = 16384
"""The page size of new files: several texts fit in a page, and a block is read in few steps."""

TABLES = (
    "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS texts (
        number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, id TEXT, text TEXT NOT NULL, vector BLOB NOT NULL,
        place TEXT)""",
    # replacing a text by its id would otherwise scan all texts
    "CREATE INDEX IF NOT EXISTS texts_by_id ON texts (id)",
    """CREATE TABLE IF NOT EXISTS block (
        first INTEGER PRIMARY KEY, size INTEGER NOT NULL, live INTEGER NOT NULL,
        numbers BLOB NOT NULL, scales BLOB NOT NULL, codes BLOB NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS root (path TEXT PRIMARY KEY, size INTEGER NOT NULL, overlap INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS file (
        id TEXT PRIMARY KEY, root TEXT NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, digest BLOB NOT NULL,
        is_text INTEGER NOT NULL) WITHOUT ROWID""",
)


def prepare(database: sqlite3.Connection) -> None:
    """Create the tables that are missing, in a transaction; upgrade those of an earlier version."""
    for statement in TABLES:
        database.execute(statement)
    if "place" not in {column for _, column, *_ in database.execute("PRAGMA table_info(texts)")}:
        database.execute("ALTER TABLE texts ADD COLUMN place TEXT")
        blocks.rebuild(database)
    words.prepare(database)
    database.execute("INSERT OR REPLACE INTO about VALUES ('format', ?)", (FORMAT,))


def next_number(database: sqlite3.Connection) -> int:
    """Return the number of the next text. A number is never used twice: the blocks are in the order of the numbers."""
    row = database.execute("SELECT value FROM about WHERE name = 'next'").fetchone()
    (largest,) = database.execute("SELECT max(number) FROM texts").fetchone()
    return max(int(row[0]) if row is not None and str(row[0]).isdecimal() else 1, (largest or 0) + 1)
