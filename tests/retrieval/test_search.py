"""Searches: the nearest vectors exactly, words, and both joined; what was asked for against what is found."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from llamacli.engine.embedding.outcome import Embedded, NotEmbedded
from llamacli.errors import CapacityError, LlamacliError, UsageError
from llamacli.retrieval.evaluation import Question, Target, evaluate, parse_target
from llamacli.retrieval.nearest import nearest
from llamacli.retrieval.search import Found, Search, fused
from llamacli.store.vectors import blocks, words
from llamacli.store.vectors.entries import Entry
from llamacli.store.vectors.index import VectorIndex

DIMS = 24


def drawn(count: int, seed: int = 1) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMS)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(path: Path, rows: np.ndarray, texts: list[str] | None = None) -> VectorIndex:
    index = VectorIndex(path, create=True)
    index.require({"fingerprint": "f"})
    for number, row in enumerate(rows):
        index.add(f"id{number}", texts[number] if texts else f"text {number}", row.tobytes())
    index.commit()
    return index


def exact(rows: np.ndarray, query: np.ndarray, count: int) -> list[int]:
    return [int(position) for position in np.argsort(-(rows @ query), kind="stable")[:count]]


def ids(index: VectorIndex, found: list[tuple[float, int]]) -> list[int]:
    return [int(index.entry(number).id.removeprefix("id")) for _, number in found]


@pytest.mark.parametrize("count", [1, 7, 100])
def test_the_nearest_are_those_of_all_products(tmp_path: Path, monkeypatch, count: int) -> None:
    monkeypatch.setattr(blocks, "ROWS", 64)
    rows = drawn(500)
    rows[100:140] = rows[99]  # many that are the same
    with filled(tmp_path / "x.db", rows) as index:
        assert len(index.block_keys()) == 8
        for query in [*drawn(5, seed=2), rows[99]]:
            found = nearest(index, query[None], count)
            assert ids(index, found) == exact(rows, query, count)
            assert [score for score, _ in found] == pytest.approx(sorted(rows @ query)[: -count - 1 : -1], abs=1e-6)


def test_removed_and_replaced_vectors_are_not_found_and_leave_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "ROWS", 32)
    rows = drawn(200)
    path = tmp_path / "x.db"
    with filled(path, rows) as index:
        kept = [number for number in range(200) if number % 3]
        index.remove([f"id{number}" for number in range(0, 200, 3)], [])
        index.add("id1", "text one", rows[0].tobytes())
        index.commit()
        rows[1] = rows[0]
        query = rows[0]
        expected = sorted(kept, key=lambda number: -float(rows[number] @ query))[:5]
        assert ids(index, nearest(index, query[None], 5)) == expected
        index.remove([f"id{number}" for number in kept[:-3]], [])  # most are gone: the blocks are made anew
        assert len(index.block_keys()) == 1
        assert sorted(ids(index, nearest(index, query[None], 10))) == kept[-3:]


def test_an_index_of_the_first_version_is_searched_and_upgraded_when_it_changes(tmp_path: Path) -> None:
    rows, path = drawn(10), tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            """CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
            CREATE TABLE texts (
                number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, id TEXT, text TEXT NOT NULL, vector BLOB NOT NULL);
            CREATE INDEX texts_by_id ON texts (id);
            INSERT INTO about VALUES ('format', 'llamacli-vectors-1'), ('fingerprint', 'f');"""
        )
        values = [
            (number + 1, bytes([number]), f"id{number}", f"red text {number}", row.tobytes()) for number, row in enumerate(rows)
        ]
        database.executemany("INSERT INTO texts VALUES (?, ?, ?, ?, ?)", values)
        database.commit()
    before = path.read_bytes()
    with VectorIndex(path) as index:
        assert (index.is_upgraded, index.has_words, index.roots()) == (False, False, [])
        assert ids(index, nearest(index, rows[3:4], 3)) == exact(rows, rows[3], 3)
        assert path.read_bytes() == before
        index.require({"fingerprint": "f"})
        index.add("new", "blue text", rows[3].tobytes())
        index.commit()
        assert (index.is_upgraded, index.has_words, index.count()) == (True, True, 11)
        assert ids(index, nearest(index, rows[4:5], 2)) == exact(rows, rows[4], 2)
        assert [number for _, number in index.find_words("red 7", 1)] == [8]


def test_blocks_of_another_size_are_an_error(tmp_path: Path) -> None:
    with filled(tmp_path / "x.db", drawn(3)) as index, closing(sqlite3.connect(tmp_path / "x.db")) as other:
        other.execute("UPDATE block SET codes = zeroblob(5)")
        other.commit()
        with pytest.raises(UsageError, match="vectors of another size"):
            nearest(index, drawn(1), 1)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE block SET numbers = 'x'",
        "UPDATE block SET numbers = zeroblob(5)",
        "UPDATE block SET scales = 7",
        "UPDATE block SET codes = 7",
        "UPDATE about SET value = '99999999999999999999' WHERE name = 'next'",
        "UPDATE texts SET number = 9223372036854775807 WHERE number = 2",
    ],
)
def test_a_damaged_index_is_an_error_of_the_index(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.db"
    filled(path, drawn(3)).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(change)
        database.commit()
    with VectorIndex(path) as index:
        index.require({"fingerprint": "f"})
        index.add("new", "text", drawn(1)[0].tobytes())
        with pytest.raises(LlamacliError, match=re.escape(str(path))):
            _use(index)


def _use(index: VectorIndex) -> None:
    index.commit()
    nearest(index, drawn(1), 1)


def test_a_folder_with_wrong_values_is_an_error_of_the_index(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    filled(path, drawn(1)).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO root VALUES ('/x', 0, 0)")
        database.commit()
    with VectorIndex(path) as index, pytest.raises(UsageError, match="a folder has wrong values"):
        index.roots()


TEXTS = ["The cats were running", "error 0x80: disk full", "my_function(x) returns café", "the the the"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Does a cat run?", [0]),
        ("what is 0x80?", [1]),
        ("cafe function", [2]),
        ('"; drop OR NEAR( * -', []),
        ("", []),
        ("the", [0, 3]),
    ],
)
def test_words_are_found(tmp_path: Path, question: str, expected: list[int]) -> None:
    with filled(tmp_path / "x.db", drawn(4), TEXTS) as index:
        assert sorted(ids(index, index.find_words(question, 9))) == expected


def test_words_of_removed_and_replaced_texts_are_not_found(tmp_path: Path) -> None:
    with filled(tmp_path / "x.db", drawn(4), TEXTS) as index:
        index.remove(["id0"], [])
        index.add("id1", "something else", drawn(1)[0].tobytes())
        index.commit()
        assert index.find_words("cat 0x80", 9) == []
        assert ids(index, index.find_words("something", 9)) == [1]
    assert b"running" not in (tmp_path / "x.db").read_bytes()


def test_a_build_without_fts5_searches_vectors_and_one_with_it_catches_up(tmp_path: Path, monkeypatch) -> None:
    path, rows = tmp_path / "x.db", drawn(4)
    with monkeypatch.context() as patch:
        patch.setattr(words, "_TABLE", "CREATE VIRTUAL TABLE words USING none(text)")
        with filled(path, rows, TEXTS) as index:
            assert not index.has_words
            found = Search(index=index, embed_query=lambda text: rows[2:3]).find("disk full", 1)
            assert [one.entry.id for one in found] == ["id2"]
            index.remove(["id3"], [])
    with VectorIndex(path) as index:
        index.require({"fingerprint": "f"})
        index.add("new", "another disk", rows[3].tobytes())
        index.commit()
        assert index.has_words
        assert sorted(index.entry(number).id for _, number in index.find_words("disk", 9)) == ["id1", "new"]


def test_rankings_are_joined_by_their_ranks() -> None:
    assert fused([1, 2, 3], [3, 4]) == [3, 1, 2, 4]
    assert fused([2, 1], [1, 2]) == [1, 2]
    assert fused([], []) == []


def test_a_hybrid_search_finds_both_and_a_reranker_decides(tmp_path: Path) -> None:
    rows = drawn(4)

    def rerank(question: str, texts):
        for number, text in enumerate(texts):
            if text == TEXTS[0]:
                yield NotEmbedded(number, CapacityError("too long"))
            else:
                yield Embedded(number, np.array([[float(len(text))]], np.float32), (1,))

    with filled(tmp_path / "x.db", rows, TEXTS) as index:
        search = Search(index=index, embed_query=lambda text: rows[2:3])
        found = search.find("disk", 2)
        assert {one.entry.id for one in found} == {"id1", "id2"}
        scores = {one.entry.id: one.score for one in found}
        assert scores["id2"] == pytest.approx(1.0, abs=1e-5)
        by_vectors = Search(index=index, embed_query=lambda text: rows[2:3], mode="vectors").find("disk", 1)
        assert [one.entry.id for one in by_vectors] == ["id2"]
        ranked = Search(index=index, embed_query=lambda text: rows[2:3], rerank=lambda q, t: list(rerank(q, t))).find("disk", 4)
        assert [one.entry.id for one in ranked] == ["id2", "id1", "id3", "id0"]
        by_words = Search(index=index, embed_query=lambda text: pytest.fail("no vector is needed"), mode="words")
        assert [one.entry.id for one in by_words.find("disk", 3)] == ["id1"]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("a.md", Target("a.md")),
        ("docs/a.md:12", Target("docs/a.md", (12, 12))),
        ("a.md:3-9", Target("a.md", (3, 9))),
        ("a.pdf, page 3", Target("a.pdf", place="page 3")),
        ("Smith, John", Target("Smith, John")),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("target", "is_in"),
    [
        (Target("/x/docs/a.md"), True),
        (Target("a.md"), True),
        (Target("docs/a.md", (1, 10)), True),
        (Target("docs/a.md", (21, 30)), False),
        (Target("b/a.md"), False),
        (Target("cs/a.md"), False),
        (Target("a.md", place="page 1"), False),
    ],
)
def test_a_passage_is_at_a_target(target: Target, is_in: bool) -> None:
    assert target.is_in(Entry(1, "/x/docs/a.md", "text", "10-20")) is is_in


def test_recall_and_mrr() -> None:
    entries = [Found(Entry(number, f"f{number}", ""), 0.0) for number in range(10)]
    questions = [Question("", (Target("f0"),)), Question("", (Target("f3"), Target("f9"))), Question("", (Target("none"),))]
    quality = evaluate(lambda text, count: entries[:count], questions, (1, 5, 10))
    assert quality.recall == {1: pytest.approx(1 / 3), 5: pytest.approx(1.5 / 3), 10: pytest.approx(2 / 3)}
    assert quality.mrr == pytest.approx((1 + 1 / 4) / 3)
