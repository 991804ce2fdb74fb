"""The database of saved conversations and of the log: its tables, and how it is opened."""

from __future__ import annotations

from pathlib import Path

from llamacli.store.files import paths
from llamacli.store.files.database import Database
from llamacli.store.sessions import search

_SESSIONS = """
create table session (
    id integer primary key autoincrement, name text unique, model text not null, system text, head integer,
    created real not null, updated real not null
);
create table message (
    session integer not null references session on delete cascade, id integer not null, parent integer,
    document text not null, text text not null, cut text not null, created real not null,
    primary key (session, id)
) without rowid;
"""

_LOG = """
create table log (
    id integer primary key autoincrement, created real not null, model text not null, prompt text not null,
    answer text not null, document text not null
);
"""

_STEPS = (_SESSIONS, search.SCHEMA, _LOG)
"""The upgrade script of each schema version."""

_HINT = "--no-save of chat and --no-log of run do without it"


def database_path() -> Path:
    """The path of the database, which may not exist."""
    return paths.data_dir() / "sessions" / "sessions.db"


def open_database(path: Path) -> Database:
    """Open the database, which is created if it does not exist. What is deleted is overwritten.

    Raises:
        LlamacliError: if it cannot be read or written, or was created by a newer version.
    """
    database = Database(path, steps=_STEPS, hint=_HINT)
    database.execute("pragma secure_delete = on")
    database.connection.create_function("folded", 1, str.casefold, deterministic=True)
    return database


def storable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode()
