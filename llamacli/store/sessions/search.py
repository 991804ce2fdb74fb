"""Full-text search in the saved conversations, through SQLite's FTS5 where the build has it, else by looking at every message.

A message grows many times a second while it is answered, so triggers only note which messages the index does not hold as they
are, and a search brings the index up to date first. It holds three letters at a time (the trigram tokenizer), so that parts of
words and scripts without spaces are found, and casefolded text, so that every case is.
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
"""What keeps the index in step. Plain SQL: a build without FTS5 writes it just as well, and one that has it catches up.
(`insert or ignore` would take the conflict clause of the statement that set the trigger off.)"""

_INDEX = "create virtual table if not exists found using fts5(text, tokenize = 'trigram')"
_ROW = "(session << 32) + id"
_SHORTEST = 3
"""Letters that a word must have to be in an index of three letters at a time."""

Transaction = Callable[[], AbstractContextManager[None]]


class MessageSearch:
    """Searches the table `message` of a database, which has a function `folded`. `transaction` begins and ends one."""

    def __init__(self, database: sqlite3.Connection, transaction: Transaction) -> None:
        self._database = database
        self._transaction = transaction

    def find(self, text: str, most: int) -> list[tuple[int, int, str]]:
        """Session, number and text of the messages that hold every word of `text` in any case, the latest first."""
        words = text.casefold().split()
        if not words:
            return []
        conditions, values = " and ".join("instr(folded(text), ?)" for _ in words), [*words]
        indexed = [word for word in words if len(word) >= _SHORTEST and "\0" not in word]
        with self._index() as there_is:
            if there_is and indexed:
                conditions = f"{_ROW} in (select rowid from found where found match ?) and {conditions}"  # noqa: S608
                values = [" ".join(f'"{word.replace(chr(34), chr(34) * 2)}"' for word in indexed), *words]
            query = f"select session, id, text from message where {conditions} order by created desc limit ?"  # noqa: S608
            return self._database.execute(query, (*values, most)).fetchall()

    def forget_removed(self) -> None:
        """Takes what was removed out of the index at once, and out of its file."""
        if self._database.execute("select 1 from sqlite_schema where name = 'found'").fetchone() is None:
            return
        with self._index() as there_is:
            if there_is:
                self._database.execute("insert into found (found) values ('optimize')")

    @contextmanager
    def _index(self) -> Iterator[bool]:
        """Brings the index up to date in a transaction that holds inside. False if this build has none."""
        with self._transaction():
            try:
                self._database.execute("savepoint indexing")
                self._bring_up_to_date()
                there_is = True
            except sqlite3.OperationalError as error:
                if "no such module" not in str(error) and "no such tokenizer" not in str(error):
                    raise
                logger.debug("no full-text index: %s", error)
                self._database.execute("rollback to indexing")
                there_is = False
            self._database.execute("release indexing")
            yield there_is

    def _bring_up_to_date(self) -> None:
        run = self._database.execute
        run(_INDEX)
        run(f"delete from found where rowid in (select {_ROW} from unindexed)")  # noqa: S608
        source = "unindexed join message using (session, id)"
        run(f"insert into found (rowid, text) select {_ROW}, folded(text) from {source}")  # noqa: S608
        run("delete from unindexed")
