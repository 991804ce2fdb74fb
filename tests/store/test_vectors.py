"""The file of an index: how it comes to be, what fits in it, and many programs at it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llamacli.errors import LlamacliError, UsageError
from llamacli.store.vectors.index import VectorIndex

VECTOR = b"\0" * 8
ONE, OTHER = {"fingerprint": "f", "dimensions": "2"}, {"fingerprint": "g", "dimensions": "2"}


def filled(path: Path, *texts: str, made_with: dict[str, str] = ONE) -> VectorIndex:
    index = VectorIndex(path, create=True)
    index.require(made_with)
    for text in texts:
        index.add(None, text, VECTOR)
    index.commit()
    return index


def run_sql(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)


def test_the_file_is_made_by_the_first_text(tmp_path):
    path = tmp_path / "x.db"
    with VectorIndex(path, create=True) as index:
        index.require(ONE)
        index.commit()
        assert (index.count(), index.about(), list(index.hashes())) == (0, {}, [])
        assert not path.exists()
        index.add(None, "cat", VECTOR)
        index.commit()
        assert index.count() == 1
    with VectorIndex(path) as index:
        assert (index.count(), index.about()["fingerprint"]) == (1, "f")


@pytest.mark.parametrize(
    "script",
    [
        "",
        """CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
        CREATE TABLE texts (
            number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, id TEXT, text TEXT NOT NULL, vector BLOB NOT NULL);""",
    ],
)
def test_what_an_interrupted_making_left_can_become_an_index(tmp_path, script):
    path = tmp_path / "x.db"
    path.touch()
    run_sql(path, script)
    filled(path, "cat").close()
    with VectorIndex(path) as index:
        assert index.count() == 1


def test_a_write_that_fails_keeps_nothing_and_spoils_nothing(tmp_path):
    path = tmp_path / "x.db"
    with VectorIndex(path, create=True) as index:
        index.require(ONE)
        index.add(None, "cat", VECTOR)
        index.add(None, "\ud800", VECTOR)
        with pytest.raises(UnicodeEncodeError):
            index.commit()
        assert index.added == 0
    filled(path, "dog").close()
    with VectorIndex(path) as index:
        assert [index.entry(number).text for numbers, _ in index.vectors(8) for number in numbers] == ["dog"]


def test_two_may_begin_an_index_at_once(tmp_path):
    path = tmp_path / "x.db"
    with VectorIndex(path, create=True) as first, VectorIndex(path, create=True) as second:
        for index, text in ((first, "cat"), (second, "dog"), (first, "cat"), (second, "bird")):
            index.require(ONE)
            index.add(None, text, VECTOR)
            index.commit()
        assert (first.count(), second.count()) == (3, 3)
        assert (first.added, first.removed) == (2, 1)


def test_of_two_with_different_models_the_later_is_refused(tmp_path):
    path = tmp_path / "x.db"
    with VectorIndex(path, create=True) as late:
        late.require(OTHER)
        late.add(None, "dog", VECTOR)
        filled(path, "cat").close()
        with pytest.raises(UsageError, match="another model"):
            late.commit()
        assert (late.count(), late.about()["fingerprint"]) == (1, "f")


def test_a_file_that_came_meanwhile_and_is_no_index_is_left_alone(tmp_path):
    path = tmp_path / "x.db"
    with VectorIndex(path, create=True) as index:
        index.require(ONE)
        index.add(None, "dog", VECTOR)
        run_sql(path, "CREATE TABLE notes (text TEXT)")
        before = path.read_bytes()
        with pytest.raises(UsageError, match="is not a vector index"):
            index.commit()
    assert path.read_bytes() == before


def test_an_emptied_index_takes_any_vectors(tmp_path):
    path = tmp_path / "x.db"
    with filled(path, "cat") as index:
        with pytest.raises(UsageError, match="another model"):
            index.require(OTHER)
        assert index.remove([], [1]) == 1
    filled(path, "dog", made_with=OTHER).close()
    with VectorIndex(path) as index:
        assert index.about()["fingerprint"] == "g"


def test_the_name_of_sqlites_memory_is_a_file_like_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filled(Path(":memory:"), "cat").close()
    with VectorIndex(Path(":memory:")) as index:
        assert index.count() == 1
    assert (tmp_path / ":memory:").is_file()


def test_a_place_where_no_file_can_be_made_is_told_at_once(tmp_path):
    with pytest.raises(UsageError, match="folder not found"):
        VectorIndex(tmp_path / "no" / "x.db", create=True)
    with pytest.raises(LlamacliError, match="cannot use the index"):
        VectorIndex(tmp_path, create=True)


@pytest.mark.parametrize("number", [2, 10**30, -(10**30)])
def test_a_number_that_is_not_there_removes_nothing(tmp_path, number):
    with filled(tmp_path / "x.db", "cat") as index:
        with pytest.raises(UsageError, match=f"no text with the number {number}"):
            index.remove([], [1, number])
        assert index.count() == 1


def test_replaced_texts_are_counted(tmp_path):
    with filled(tmp_path / "x.db") as index:
        index.require(ONE)
        for text in ("cat", "dog", "dog"):
            index.add("a", text, VECTOR)
        index.commit()
        assert (index.added, index.removed, index.count()) == (3, 2, 1)
