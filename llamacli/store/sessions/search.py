"""Full-text search in the saved conversations, with SQLite's FTS5 if the build has it, else by scanning every message.

An answer is saved many times a second while it grows, so triggers only record which messages the index lacks, and a search
updates the index first. The index uses the trigram tokenizer, which finds parts of words and scripts without spaces, on
casefolded text, so that the search ignores case.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

logger = logging.getLogger(__name__)

SCHEMA = """
create table unindexed (session integer not null, id integer not null, primary key (session, id)) without rowid;
insert into unindexed select session, id from message;
create trigger message_added after insert on message begin
    insert into unindexed select new.session, new.id
    where not exists (select 1 from unindexed where session = new.session and id = new.id);
end;
create trigger message_changed after update of text on message when old.text is not new.text begin
    insert into unindexed select new.session, new.id
    where not exists (select 1 from unindexed where session = new.session and id = new.id);
end;
create trigger message_removed after delete on message begin
    insert into unindexed select old.session, old.id
    where not exists (select 1 from unindexed where session = old.session and id = old.id);
end;
"""
"""The table and triggers of messages to be indexed. They need no FTS5: a build without it records the messages, and one that
has it catches up. (`insert or ignore` would inherit the conflict clause of the statement that fired the trigger.)"""

_INDEX = "create virtual table if not exists found using fts5(text, tokenize = 'trigram')"
_ROW = "(session << 32) + id"
_MIN_INDEXED_LENGTH = 3
"""The shortest word, in characters, that a trigram index can find."""

Transaction = Callable[[], AbstractContextManager[None]]


class MessageSearch:
    """Search in the table `message` of a database with a function `folded`. `transaction` is a context manager."""

    def __init__(self, database: sqlite3.Connection, transaction: Transaction) -> None:
        self._database = database
        self._transaction = transaction

    def find(self, text: str, limit: int) -> list[tuple[int, int, str]]:
        """Session, number and text of the messages with every word of `text`, ignoring case, the latest first."""
        words = text.casefold().split()
        if not words:
            return []
        conditions, values = " and ".join("instr(folded(text), ?)" for _ in words), [*words]
        indexed = [word for word in words if len(word) >= _MIN_INDEXED_LENGTH and "\0" not in word]
        with self._index() as available:
            if available and indexed:
                conditions = f"{_ROW} in (select rowid from found where found match ?) and {conditions}"  # noqa: S608
                values = [" ".join(f'"{word.replace(chr(34), chr(34) * 2)}"' for word in indexed), *words]
            query = f"select session, id, text from message where {conditions} order by created desc limit ?"  # noqa: S608
            return self._database.execute(query, (*values, limit)).fetchall()

    def forget_removed(self) -> None:
        """Remove deleted messages from the index and from its file at once."""
        if self._database.execute("select 1 from sqlite_schema where name = 'found'").fetchone() is None:
            return
        with self._index() as available:
            if available:
                self._database.execute("insert into found (found) values ('optimize')")

    @contextmanager
    def _index(self) -> Iterator[bool]:
        """Update the index, in a transaction that encloses the block. Yields False if this build has no FTS5."""
        with self._transaction():
            try:
                self._database.execute("savepoint indexing")
                self._update_index()
                available = True
            except sqlite3.OperationalError as error:
                if "no such module" not in str(error) and "no such tokenizer" not in str(error):
                    raise
                logger.debug("no full-text index: %s", error)
                self._database.execute("rollback to indexing")
                available = False
            self._database.execute("release indexing")
            yield available

    def _update_index(self) -> None:
        run = self._database.execute
        run(_INDEX)
        run(f"delete from found where rowid in (select {_ROW} from unindexed)")  # noqa: S608
        source = "unindexed join message using (session, id)"
        run(f"insert into found (rowid, text) select {_ROW}, folded(text) from {source}")  # noqa: S608
        run("delete from unindexed")
