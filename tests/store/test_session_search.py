"""Full-text search in the saved conversations, and the states that are kept beside them."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from llamacli.errors import LlamacliError
from llamacli.store.sessions import schema
from llamacli.store.sessions import search as session_search
from llamacli.store.sessions.kv_states import SessionStates
from llamacli.store.sessions.store import SavedMessage, SessionStore

VERSION_1 = f"""
{schema._SESSIONS}insert into session values (1, 'old', 'demo', null, 1, 1.0, 1.0);
insert into message values (1, 1, null, '{{"role": "user", "content": "Grüße an das Lama"}}', 'Grüße an das Lama', '', 1.0);
pragma user_version = 1;
"""


@pytest.fixture(params=["fts5", "no such module", "no such tokenizer"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if request.param == "no such module":
        monkeypatch.setattr(session_search, "_INDEX", "create virtual table found using fts99(text)")
    if request.param == "no such tokenizer":
        monkeypatch.setattr(session_search, "_INDEX", "create virtual table found using fts5(text, tokenize = 'nobody')")
    with closing(SessionStore(tmp_path / "own" / "sessions.db")) as opened:
        yield opened


def say(store: SessionStore, session: int, number: int, text: str) -> None:
    store.put(session, SavedMessage(number, None, {"role": "user", "content": text}), text=text)


def found(store: SessionStore, text: str) -> list[int]:
    return [one.message for one in store.search(text)]


def test_search_follows_what_changes(store: SessionStore) -> None:
    session, other = store.create(model="a"), store.create(model="a")
    say(store, session.id, 1, "a llama")
    assert found(store, "llama") == [1]
    say(store, session.id, 1, "an alpaca")
    say(store, other.id, 2, "another ALPACA, and a llama")
    assert found(store, "llama") == [2]
    assert found(store, "alpaca") == [2, 1]
    store.delete(other.id)
    assert found(store, "alpaca") == [1]
    assert found(store, "llama") == []


def test_any_text_can_be_searched_for(store: SessionStore) -> None:
    session = store.create(model="a")
    for number, text in enumerate(('say "hello" AND goodbye*', "天気 ab", "null \0 byte", "GRÖSSE"), start=1):
        say(store, session.id, number, text)
    for text, numbers in (
        ('"hello"', [1]),
        ("hello AND", [1]),
        ("goodbye*", [1]),
        ("a NEAR b", []),
        ("天気", [2]),
        ("ab 天", [2]),
        ("größe", [4]),
        ("(", []),
        ('"""', []),
        ("nu\0ll", []),
    ):
        assert found(store, text) == numbers, text


def test_an_older_database_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
    with closing(SessionStore(path)) as store:
        assert found(store, "grüsse LAMA") == [1]
        assert store.messages(1)[0].document["content"] == "Grüße an das Lama"
        say(store, 1, 2, "more of the lama")
        assert found(store, "lama") == [2, 1]
    with closing(SessionStore(path)) as store:
        assert found(store, "lama") == [2, 1]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("pragma user_version").fetchone() == (3,)


def test_an_index_of_another_build_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written with FTS5, read without, written without, and read with it again."""
    path = tmp_path / "sessions.db"
    with closing(SessionStore(path)) as store:
        store.create(model="a")
        say(store, 1, 1, "one llama")
        assert found(store, "llama") == [1]
    with monkeypatch.context() as patch, closing(SessionStore(path)) as store:
        patch.setattr(session_search, "_INDEX", "create virtual table other using fts99(text)")
        say(store, 1, 2, "two llamas")
        assert found(store, "llama") == [2, 1]
    with closing(SessionStore(path)) as store:
        assert found(store, "llama") == [2, 1]


def test_the_index_is_used_and_holds_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with closing(SessionStore(path)) as store:
        store.create(model="a")
        for number in range(1, 200):
            say(store, 1, number, f"message number {number}")
        assert found(store, "number 117") == [117]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("select count(*) from found where found match '\"number 11\"'").fetchone() == (11,)
        assert database.execute("select count(*) from unindexed").fetchone() == (0,)


def test_what_was_deleted_is_in_no_file(tmp_path: Path) -> None:
    with closing(SessionStore(tmp_path / "own" / "sessions.db")) as store:
        session = store.create(model="a")
        say(store, session.id, 1, "a very private sentence")
        store.states.path(session.id).write_bytes(b"very private state")
        assert found(store, "private") == [1]
        store.delete(session.id)
        for file in store.path.parent.iterdir():
            data = file.read_bytes()
            assert b"very private" not in data
            assert b"priv" not in data


def test_a_locked_database_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamacli.store.files.database._BUSY_SECONDS", 0.05)
    path = tmp_path / "sessions.db"
    with closing(SessionStore(path)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("begin immediate")
        with pytest.raises(LlamacliError, match="locked"):
            store.search("llama")


def states_of(folder: Path, *sizes: int) -> None:
    for number, size in enumerate(sizes, start=1):
        file = folder / f"{number}.state"
        file.write_bytes(bytes(size))
        os.utime(file, (1000 + number, 1000 + number))


def test_states_are_limited_and_the_oldest_go_first(tmp_path: Path) -> None:
    states = SessionStates(tmp_path, max_state_bytes=50, max_total_bytes=100)
    assert states.admits(50)
    assert not states.admits(51)
    assert not SessionStates(tmp_path / "missing").admits(1)
    states_of(tmp_path, 40, 40, 40, 10)
    states.make_room(kept=1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1.state", "3.state", "4.state"]
    states.make_room(kept=9)
    assert len(list(tmp_path.iterdir())) == 3
    states.remove(3)
    states.remove(3)
    assert not states.path(3).exists()


def test_a_state_that_was_never_finished_goes(tmp_path: Path) -> None:
    old, new = tmp_path / ".1.state.abc", tmp_path / ".2.state.abc"
    for file, age in ((old, 7200), (new, 10)):
        file.write_bytes(b"part")
        os.utime(file, (time.time() - age, time.time() - age))
    SessionStates(tmp_path).make_room(kept=1)
    assert [file.name for file in tmp_path.iterdir()] == [new.name]


def test_a_full_disk_takes_no_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 150})
    monkeypatch.setattr("llamacli.store.sessions.kv_states.shutil.disk_usage", lambda folder: usage)
    assert SessionStates(tmp_path).admits(70)
    assert not SessionStates(tmp_path).admits(80)
