"""Chat sessions in SQLite: trees of messages, saved while they grow, so that a killed program loses nothing.

The database is in a folder that only its user may enter. Several programs may use it at once; each session is open in one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llamacli.errors import UsageError
from llamacli.store.files.records import fits, is_integer, is_row_id, is_text, is_time, optional, parse_object
from llamacli.store.sessions import search as session_search
from llamacli.store.sessions.kv_states import SessionStates
from llamacli.store.sessions.schema import database_path, open_database, storable

_MAX_DIGITS = 18
"""SQLite's integers have 63 bits."""


@dataclass(frozen=True, slots=True)
class Session:
    """A saved conversation. `head` is the last message of its current branch; `title` is the text of its first message."""

    id: int
    name: str | None
    model: str
    system: str | None
    head: int | None
    updated: float
    messages: int
    title: str

    @property
    def label(self) -> str:
        """The name of the session, or its number if it has none."""
        return self.name or str(self.id)


@dataclass(frozen=True, slots=True)
class SavedMessage:
    """A message in OpenAI's form, the reply to `parent`. `cut` is the reason why an answer is incomplete."""

    id: int
    parent: int | None
    document: Mapping[str, Any]
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A message that a search found."""

    session: Session
    message: int
    text: str


class SessionStore:
    """The database of sessions, created if it does not exist. `close()` may be called twice.

    Raises (the constructor and every method):
        LlamacliError: if the database cannot be read or written, or was created by a newer version.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or database_path()
        self.states = SessionStates(self.path.parent)
        self._locks: dict[int, FileLock] = {}
        self._database = open_database(self.path)
        self._search = session_search.MessageSearch(self._database.connection, self._database.transaction)

    def create(self, *, model: str, system: str | None = None, name: str | None = None) -> Session:
        """Create a session and open it in this program. Raises UsageError if the name is taken or is a number."""
        if name is not None:
            self.check_name(name)
        now = time.time()
        query = "insert into session (name, model, system, created, updated) values (?, ?, ?, ?, ?)"
        identity = self._database.execute(query, (name, model, system, now, now))
        self.open(identity)
        return self._sessions("where id = ?", (identity,))[0]

    def open(self, session: int) -> None:
        """Lock a session for this program. Raises UsageError if another program has it open."""
        if session in self._locks:
            return
        lock = FileLock(self.path.with_name(f"{session}.lock"), mode=0o600)
        with self._database.guarded():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                label = next((one.label for one in self._sessions("where id = ?", (session,))), session)
                raise UsageError(
                    f"session {label} is open in another llamacli chat",
                    hint="close it there, or continue another session: llamacli chat --list",
                ) from None
        self._locks[session] = lock

    def release(self, session: int) -> None:
        """Unlock a session for other programs."""
        lock = self._locks.pop(session, None)
        if lock is not None:
            lock.release()

    def sessions(self) -> list[Session]:
        """All sessions, the most recently used first."""
        return self._sessions()

    def last(self) -> Session:
        """The most recently used session. Raises UsageError without sessions."""
        found = self._sessions("", (), "limit 1")
        if not found:
            raise UsageError("no session to continue")
        return found[0]

    def find(self, label: str) -> Session | None:
        """The session with this name or number, or None."""
        found = self._sessions("where name = ?", (storable(label),))
        if not found and label.isdecimal() and len(label) <= _MAX_DIGITS:
            found = self._sessions("where id = ?", (int(label),))
        return found[0] if found else None

    def messages(self, session: int) -> list[SavedMessage]:
        """All messages of a session, in chronological order. Each is later than its parent."""
        rows = self._database.rows("select id, parent, document, cut from message where session = ? order by id", (session,))
        if not fits(rows, is_row_id, optional(is_row_id), is_text, is_text):
            raise self._database.corrupt(f"a message of session {session} has values of wrong types")
        found: dict[int, SavedMessage] = {}
        for number, parent, text, cut in rows:
            document = parse_object(text)
            if document is None:
                raise self._database.corrupt(f"message {number} of session {session} is not a JSON object")
            if parent is not None and parent not in found:
                raise self._database.corrupt(f"message {number} of session {session} replies to the unknown message {parent}")
            found[number] = SavedMessage(number, parent, document, cut)
        ((head,),) = self._database.rows("select (select head from session where id = ?)", (session,))
        if head is not None and head not in found:
            raise self._database.corrupt(f"the current message {head} of session {session} does not exist")
        return list(found.values())

    def put(self, session: int, message: SavedMessage, *, text: str) -> None:
        """Save a message, or its new content. `text` is its searchable text."""
        now = time.time()
        with self._database.transaction():
            self._database.execute(
                "insert into message values (?, ?, ?, ?, ?, ?, ?) on conflict (session, id) "
                "do update set document = excluded.document, text = excluded.text, cut = excluded.cut",
                (session, message.id, message.parent, json.dumps(message.document), storable(text), message.cut, now),
            )
            self._database.execute("update session set updated = ? where id = ?", (now, session))

    def update(self, session: int, *, head: int | None, system: str | None, model: str) -> None:
        """Save the state of a session: its current message, system message and model."""
        query = "update session set head = ?, system = ?, model = ? where id = ?"
        self._database.execute(query, (head, None if system is None else storable(system), model, session))

    def rename(self, session: int, name: str) -> None:
        """Name a session. Raises UsageError if the name is taken or is a number."""
        self.check_name(name, session)
        self._database.execute("update session set name = ? where id = ?", (name, session))

    def check_name(self, name: str, session: int | None = None) -> None:
        """Raise UsageError if the name is empty, a number, or that of a session other than `session`."""
        if not name.strip() or name.isdecimal():
            raise UsageError("the name of a session must not be empty or a number")
        found = self.find(name)
        if found is not None and found.id != session:
            raise UsageError(f"session {name} already exists")

    def delete(self, session: int) -> None:
        """Delete a session with its messages and its state. Raises UsageError if another program has it open."""
        self.open(session)
        self.states.remove(session)
        with self._database.guarded():
            self._database.execute("delete from session where id = ?", (session,))
            self._search.forget_removed()
            self._database.execute("pragma wal_checkpoint(truncate)")
        self.release(session)
        self.path.with_name(f"{session}.lock").unlink(missing_ok=True)

    def search(self, text: str, *, limit: int = 50) -> list[Found]:
        """The messages with every word of `text`, also as a part of a word, ignoring case, the latest first."""
        with self._database.guarded():
            rows = self._search.find(text, limit)
        if not fits(rows, is_row_id, is_row_id, is_text):
            raise self._database.corrupt("a message has values of wrong types")
        sessions = {session.id: session for session in self._sessions()}
        return [Found(sessions[session], message, found) for session, message, found in rows if session in sessions]

    def close(self) -> None:
        """Unlock all sessions and close the database."""
        for session in list(self._locks):
            self.release(session)
        self._database.close()

    def _sessions(self, where: str = "", values: Sequence[Any] = (), limit: str = "") -> list[Session]:
        query = f"""select id, name, model, system, head, updated,
            (select count(*) from message where session = session.id),
            coalesce((select text from message where session = session.id order by message.id limit 1), '')
            from session {where} order by updated desc, id desc {limit}"""  # noqa: S608 - constant fragments
        query = query.replace("where session = session.id", "where message.session = session.id")
        rows = self._database.rows(query, values)
        optional_text, optional_id = optional(is_text), optional(is_row_id)
        if not fits(rows, is_row_id, optional_text, is_text, optional_text, optional_id, is_time, is_integer, is_text):
            raise self._database.corrupt("a session has values of wrong types")
        return [Session(*row) for row in rows]
