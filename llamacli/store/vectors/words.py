"""The full-text index of the texts, with SQLite's FTS5. A build without it records that the index is stale.

Its content is that of the texts themselves. Words are stemmed as in English, without accents; `_` and punctuation separate
them, so that parts of names in source code are found.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable

_TABLE = """CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    text, content = 'texts', content_rowid = 'number', tokenize = 'porter unicode61 remove_diacritics 2')"""

_WORD = re.compile(r"\w+")
_MOST_WORDS = 32
"""Words of a question that are searched for."""

_COMMON_SHARE = 4
"""A word that more than every fourth text has says little, and takes long to rank by."""

_FEW = 1000
"""Texts that are ranked fast, however common their words are."""


def prepare(database: sqlite3.Connection) -> None:
    """Create the full-text index, or catch up with what a build without FTS5 left out."""
    is_current = is_ready(database)
    try:
        database.execute(_TABLE)
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error):
            raise
        _set(database, ready=False)
        return
    if not is_current:
        database.execute("INSERT INTO words (words) VALUES ('rebuild')")
        _set(database, ready=True)


def is_ready(database: sqlite3.Connection) -> bool:
    """Return whether the index has all texts, and this SQLite can read it."""
    row = database.execute("SELECT value FROM about WHERE name = 'words'").fetchone()
    if row is None or row[0] != "1":
        return False
    try:
        database.execute("SELECT rowid FROM words LIMIT 0")
    except sqlite3.OperationalError:  # no FTS5
        return False
    return True


def _set(database: sqlite3.Connection, *, ready: bool) -> None:
    database.execute("INSERT OR REPLACE INTO about VALUES ('words', ?)", ("1" if ready else "0",))


def add(database: sqlite3.Connection, number: int, text: str) -> None:
    """Add a text that is in the table, too."""
    database.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, text))


def remove(database: sqlite3.Connection, number: int, text: str) -> None:
    """Remove a text, by the words that it has."""
    database.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (number, text))


def forget_removed(database: sqlite3.Connection) -> None:
    """Remove the words of removed texts from the file at once, not when the index is next merged."""
    database.execute("INSERT INTO words (words) VALUES ('optimize')")


def find(database: sqlite3.Connection, question: str, count: int) -> list[tuple[float, int]]:
    """Return the score (BM25, higher is better) and the number of the texts that have words of the question, best first.

    Words that most texts have are left out, unless the question has no others.
    """
    terms = list(dict.fromkeys(f'"{word}"' for word in _WORD.findall(question.casefold())))[:_MOST_WORDS]
    match = "SELECT count(*) FROM words WHERE words MATCH ?"
    counts = {term: database.execute(match, (term,)).fetchone()[0] for term in terms}
    (total,) = database.execute("SELECT count(*) FROM texts").fetchone()
    limit = max(total // _COMMON_SHARE, _FEW)
    rare = [term for term, number in counts.items() if 0 < number <= limit]
    chosen = rare or [term for term, number in counts.items() if number]
    if not chosen:
        return []
    query = "SELECT -bm25(words), rowid FROM words WHERE words MATCH ? ORDER BY 1 DESC, 2 LIMIT ?"
    return [(float(score), int(number)) for score, number in database.execute(query, (_any_of(chosen), count))]


def _any_of(terms: Iterable[str]) -> str:
    return " OR ".join(terms)
