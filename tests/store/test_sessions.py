"""Saved conversations: the store, and the store under the conversation."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fakes import invoke
from talk import Talker, plain, talk

from llamacli.errors import LlamacliError, UsageError
from llamacli.store.files import paths
from llamacli.store.sessions.store import SavedMessage, SessionStore


@pytest.fixture
def store(tmp_path: Path):
    with closing(SessionStore(tmp_path / "own" / "sessions.db")) as opened:
        yield opened


def say(store: SessionStore, session: int, number: int, text: str, parent: int | None = None) -> None:
    store.put(session, SavedMessage(number, parent, {"role": "user", "content": text}), text=text)


def test_only_the_user_may_enter(store: SessionStore) -> None:
    session = store.create(model="demo")
    say(store, session.id, 1, "secret")
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    for file in store.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_what_was_put_comes_back(store: SessionStore) -> None:
    session = store.create(model="demo", system="Be kind.", name="work")
    say(store, session.id, 1, "first \ud800 \0 🦙")
    say(store, session.id, 2, "half", 1)
    store.put(session.id, SavedMessage(2, 1, {"role": "assistant", "content": "whole"}, "stopped"), text="whole")
    store.update(session.id, head=2, system="Be brief.", model="other")
    found = store.find("work")
    assert found is not None
    assert (found.head, found.system, found.model, found.messages) == (2, "Be brief.", "other", 2)
    first, second = store.messages(session.id)
    assert first.document["content"] == "first \ud800 \0 🦙"
    assert second == SavedMessage(2, 1, {"role": "assistant", "content": "whole"}, "stopped")


def test_the_last_one_used_comes_first(store: SessionStore) -> None:
    with pytest.raises(UsageError, match="no session to continue"):
        store.last()
    one, two = store.create(model="a"), store.create(model="b")
    assert store.last().id == two.id
    say(store, one.id, 1, "again")
    assert [session.id for session in store.sessions()] == [one.id, two.id]
    assert store.sessions()[0].title == "again"


def test_names_are_unique_and_no_numbers(store: SessionStore) -> None:
    session, other = store.create(model="a", name="mine"), store.create(model="a")
    for wrong in ("mine", "12", " "):
        with pytest.raises(UsageError):
            store.rename(other.id, wrong)
    store.rename(session.id, "mine")
    assert store.find(str(other.id)) is not None
    assert store.find("nobody") is None
    assert store.find("\udcff") is None


def test_search_finds_every_word_in_any_case_and_script(store: SessionStore) -> None:
    session = store.create(model="a")
    for number, text in enumerate(("The GRÖSSE of a llama", "a llama", "東京の天気"), start=1):
        say(store, session.id, number, text)
    assert [one.message for one in store.search("größe LLAMA")] == [1]
    assert [one.message for one in store.search("llama")] == [2, 1]
    assert [one.message for one in store.search("天気")] == [3]
    assert store.search("  ") == []
    assert store.search("100%' or 1=1") == []


def test_delete_leaves_nothing_behind(store: SessionStore) -> None:
    session = store.create(model="a")
    say(store, session.id, 1, "a very private sentence")
    store.delete(session.id)
    assert store.sessions() == []
    for file in store.path.parent.iterdir():
        assert b"very private" not in file.read_bytes()


def test_a_session_is_open_in_one_program_only(store: SessionStore) -> None:
    session = store.create(model="a")
    with closing(SessionStore(store.path)) as other:
        with pytest.raises(UsageError, match="is open in another"):
            other.open(session.id)
        with pytest.raises(UsageError, match="is open in another"):
            other.delete(session.id)
        store.release(session.id)
        other.open(session.id)


def test_two_programs_write_at_once(store: SessionStore) -> None:
    with closing(SessionStore(store.path)) as other:
        mine, theirs = store.create(model="a"), other.create(model="a")
        for number in range(1, 30):
            say(store, mine.id, number, "mine")
            say(other, theirs.id, number, "theirs")
        assert len(store.messages(theirs.id)) == len(other.messages(mine.id)) == 29


def test_a_newer_or_damaged_database_is_said(tmp_path: Path) -> None:
    newer = tmp_path / "newer.db"
    with closing(sqlite3.connect(newer)) as database:
        database.execute("pragma user_version = 99")
    with pytest.raises(LlamacliError, match="newer llamacli"):
        SessionStore(newer)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database" * 100)
    with pytest.raises(LlamacliError, match="not a database"):
        SessionStore(damaged)


def test_what_was_said_survives_kill_9(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from llamacli.store.sessions.store import SavedMessage, SessionStore
store = SessionStore(Path({str(tmp_path / "s.db")!r}))
session = store.create(model="a")
for number in range(1, 50):
    store.put(session.id, SavedMessage(number, None, {{"role": "user", "content": str(number)}}), text=str(number))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with closing(SessionStore(tmp_path / "s.db")) as store:
        store.open(1)
        assert len(store.messages(1)) == 49


# --- the conversation ----------------------------------------------------------------------------------------------------


def test_a_conversation_goes_on_where_it_was() -> None:
    talk("Hi\rHow?\r/undo\r", "-sys", "Be kind.", engine=Talker(answers=[("Hello.",), ("So.",)]))
    engine = Talker()
    result = talk("And now?\r/branches\r", "--continue", engine=engine)
    assert result.status == 0
    assert "session 1: 2 messages, model demo" in plain(result.stdout)
    assert "> Hi\n" in plain(result.stdout)
    assert "Hello." in plain(result.stdout)
    assert engine.asked == [[("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello."), ("user", "And now?")]]
    assert "4 messages, last: So." in plain(result.stdout)


def test_sessions_have_names() -> None:
    talk("a\r", "--session", "work")
    engine = Talker()
    talk("b\r/save 12\r/save job\r", "--session", "work", engine=engine)
    assert [text for _, text in engine.asked[0]][::2] == ["a", "b"]
    out = plain(talk("x\r/sessions\r/load job\r/search rayleigh\r/delete job\r/sessions\r/save 2\r").stdout)
    assert "session job: 4 messages" in out
    assert "job: Because of Rayleigh scattering." in out
    assert "cannot delete the current session" in out
    assert "must not be empty or a number" in out
    for answer, said in (("n", "nothing deleted"), ("y", "deleted session 2")):
        script = f"/delete 2\n{answer}\n".encode()
        shown = plain(invoke("chat", "--script", "-", stdin=script, engine=Talker()).stdout)
        assert f"delete session 2, 2 messages? [y/N] {answer}\n{said}\n" in shown
    listed = invoke("chat", "--list")
    assert listed.status == 0
    assert listed.stdout.startswith("job  ")
    assert len(listed.stdout.splitlines()) == 1
    assert "unknown session 7" in talk("", "--session", "7").stderr
    for empty in ("", " "):
        result = talk("x\r", "--session", empty)
        assert (result.status, result.stderr) == (2, "llamacli: error: --session: the name is empty\n")
    assert "must not be empty or a number" in plain(talk("/save 12\rx\r").stdout)


def test_a_session_that_is_loaded_keeps_its_system_prompt() -> None:
    talk("a\r", "-sys", "Be kind.", "--session", "work")
    engine = Talker()
    talk("b\r/load work\rc\r/load 2\rd\r", "-sys", "Be brief.", engine=engine)
    assert [conversation[0][1] for conversation in engine.asked] == ["Be brief.", "Be kind.", "Be brief."]
    engine = Talker()
    talk("e\r", "--session", "work", engine=engine)
    assert engine.asked[0][0] == ("system", "Be kind.")
    talk("f\r", "--session", "work", "-sys", "Be new.", engine=engine)
    assert engine.asked[1][0] == ("system", "Be new.")


def test_an_empty_conversation_leaves_no_session() -> None:
    talk("/help\r")
    listed = invoke("chat", "--list")
    assert (listed.status, listed.stdout, listed.stderr) == (0, "", "llamacli: no saved sessions\n")
    assert talk("", "--continue").status == 2


@pytest.mark.parametrize("more", [("Hi",), ("--session", "work"), ("--continue",)])
def test_listing_takes_nothing_else(more: tuple[str, ...]) -> None:
    result = invoke("chat", "--list", *more)
    assert (result.status, "--list cannot be used with" in result.stderr) == (2, True)
    assert invoke("chat", "--list", environ={"LLAMACLI_SESSION": "work"}).status == 0


def test_a_session_that_is_open_elsewhere_is_called_by_its_name() -> None:
    talk("a\r", "--session", "work")
    with closing(SessionStore()) as store:
        store.open(1)
        result = talk("", "--continue")
    assert result.status == 2
    assert "session work is open in another llamacli chat (close it there, or continue another session: " in result.stderr


def test_no_save_leaves_no_trace() -> None:
    result = talk("secret\r/sessions\r/save x\r", "--no-save")
    assert "sessions are disabled by --no-save" in result.stdout
    assert not paths.data_dir().exists()
    assert talk("", "--no-save", "--continue").status == 2
    assert talk("", "--session", "a", "--continue").status == 2


def test_a_full_disk_does_not_end_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise LlamacliError("sessions.db: database or disk is full")

    monkeypatch.setattr(SessionStore, "put", full)
    engine = Talker()
    result = talk("a\rb\r", engine=engine)
    assert result.status == 0
    assert plain(result.stdout).count("no longer saved") == 1
    assert len(engine.asked) == 2
