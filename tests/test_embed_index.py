"""`llamacli embed index`: texts and their vectors in one file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fakes import Result, invoke
from tiny_bert import tiny_bert

from llamacli.cli.console import Terminals
from llamacli.errors import UsageError
from llamacli.store.vectors import VectorIndex


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert") / "bert.gguf")


def index(*arguments: str | Path, **how) -> Result:
    how.setdefault("terminals", Terminals(stdin="stdin" not in how))
    how.setdefault("find_model", lambda app, reference, *, offline: Path(reference))
    return invoke("embed", "index", *map(str, arguments), **how)


def count(db: Path) -> int:
    return json.loads(index("info", db, "--json").stdout)["texts"]


def test_what_is_there_already_is_not_embedded_again(bert, tmp_path):
    db = tmp_path / "x.db"
    first = index("add", db, "-m", bert, "red cat", "dog", "red cat")
    assert (first.status, first.stdout) == (0, "")
    assert "2 texts added, 1 were there; 2 in all" in first.stderr
    again = index("add", db, "-m", bert, "dog", "blue dog")
    assert "1 texts added, 1 were there; 3 in all" in again.stderr


def test_a_text_with_an_id_takes_the_place_of_the_earlier_one(bert, tmp_path):
    db, note = tmp_path / "x.db", tmp_path / "note.txt"
    note.write_text("red cat")
    index("add", db, "-m", bert, "-f", note)
    note.write_text("blue dog")
    assert "1 texts added" in index("add", db, "-m", bert, "-f", note).stderr
    assert count(db) == 1
    (hit,) = json.loads(index("search", db, "blue dog", "--json").stdout)["results"]
    assert (hit["id"], hit["text"], hit["score"]) == (str(note), "blue dog", pytest.approx(1, abs=1e-4))


def test_texts_are_removed_by_id_or_number_and_leave_no_trace(bert, tmp_path):
    db, rows = tmp_path / "x.db", tmp_path / "rows.jsonl"
    texts = ["red cat", "blue dog", "the mat", "a secret bird"]
    rows.write_text("".join(json.dumps({"id": f"n{number}", "text": text}) + "\n" for number, text in enumerate(texts)))
    index("add", db, "-m", bert, "--input", rows)
    index("add", db, "-m", bert, "a fish")
    (hit,) = json.loads(index("search", db, "a fish", "--top-k", "1", "--json").stdout)["results"]
    for wrong in (["n9"], ["n1", "n9"], ["--number", "99"], ["n1", "--number", "99"], ["--number", str(10**30)]):
        refused = index("rm", db, *wrong)
        assert refused.status in (1, 2)
        assert refused.stderr.count("\n") == 1
    assert index("rm", db).status == 2
    assert index("rm", tmp_path / "none.db", "n1").status == 2
    assert count(db) == 5
    assert b"secret" in db.read_bytes()
    gone = index("rm", db, "n1", "n3", "n1", "--number", hit["index"])
    assert (gone.status, gone.stdout, gone.stderr) == (0, "", "llamacli: 3 texts removed; 2 in all\n")
    assert b"secret" not in db.read_bytes()
    left = json.loads(index("search", db, "a", "--json").stdout)["results"]
    assert sorted(row["id"] for row in left) == ["n0", "n2"]
    assert "2 texts added, 2 were there; 4 in all" in index("add", db, "-m", bert, "--input", rows).stderr


def test_searching_takes_the_model_and_the_settings_of_the_index(bert, tmp_path):
    db = tmp_path / "x.db"
    index("add", db, "-m", bert, "--pooling", "cls", "--dims", "16", "red cat", "dog ran", "mat")
    hits = [json.loads(line) for line in index("search", db, "red cat", "--top-k", "2").stdout.splitlines()]
    assert hits[0]["text"] == "red cat"
    assert (len(hits), hits[0]["score"]) == (2, pytest.approx(1, abs=1e-4))
    shown = index("search", db, "red cat", terminals=Terminals(stdin=True, stdout=True)).stdout
    assert shown.splitlines()[0].split() == ["1.0000", "red", "cat"]
    document = json.loads(index("info", db, "--json").stdout)
    assert (document["pooling"], document["dimensions"], document["model"]) == ("cls", "16", "tiny bert")
    assert "dimensions   16" in index("info", db).stdout


def test_vectors_of_another_model_or_made_otherwise_are_refused(bert, tiny_embedding_model, tmp_path):
    db = tmp_path / "x.db"
    index("add", db, "-m", bert, "red cat")
    for arguments, said in [
        (("add", db, "-m", tiny_embedding_model, "dog"), "holds vectors of another model"),
        (("add", db, "--dims", "8", "dog"), "dimensions 32, not 8"),
        (("add", db, "--prefix", "note: ", "dog"), "prefix (none), not note: "),
        (("search", db, "-m", tiny_embedding_model, "dog"), "another model"),
    ]:
        result = index(*arguments)
        assert result.status == 2, result
        assert said in result.stderr
    assert count(db) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE texts SET vector = zeroblob(12)",
        "UPDATE texts SET vector = 'x'",
        "UPDATE about SET value = 'many' WHERE name = 'dimensions'",
        "DELETE FROM about WHERE name = 'pooling'",
        "UPDATE about SET value = 'sum' WHERE name = 'pooling'",
        "UPDATE about SET value = '999999' WHERE name = 'dimensions'",
    ],
)
def test_a_damaged_index_is_told_in_one_line(bert, tmp_path, change):
    db = tmp_path / "x.db"
    index("add", db, "-m", bert, "red cat", "dog")
    with closing(sqlite3.connect(db)) as database:
        database.execute(change)
        database.commit()
    result = index("search", db, "red cat")
    assert result.status == 2
    assert result.stderr.count("\n") == 1


def test_more_vectors_than_are_compared_at_once(bert, tmp_path):
    db = tmp_path / "x.db"
    texts = [f"{first} {second}" for first in "abcdefghijklmnopqrstuvwxyz" for second in "abcdefghijklmnopqrstuvwxyz"]
    assert index("add", db, "-m", bert, stdin="".join(f"{text}\n" for text in texts).encode()).status == 0
    hits = [json.loads(line) for line in index("search", db, "q w", "--top-k", "676").stdout.splitlines()]
    assert (hits[0]["text"], hits[0]["score"]) == ("q w", pytest.approx(1, abs=1e-4))
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    best = [json.loads(line) for line in index("search", db, "q w", "--top-k", "5").stdout.splitlines()]
    assert best == hits[:5]


def test_texts_without_a_vector_are_left_out_and_said(bert, tmp_path):
    db = tmp_path / "x.db"
    result = index("add", db, "-m", bert, "red cat", "", "cat " * 100)
    assert result.status == 6
    assert count(db) == 1
    assert index("add", db, "--chunk", "40", "cat " * 100).status == 0
    assert count(db) == 2


def test_what_is_no_index(bert, tmp_path):
    (tmp_path / "text.db").write_text("not a database at all, but long enough to look at" * 20)
    for arguments, said in [
        (("search", tmp_path / "missing.db", "x"), "there is no index"),
        (("info", tmp_path / "text.db"), "is no index"),
        (("add", tmp_path / "x.db", "-m", bert, "--pooling", "none", "x"), "one vector for each text"),
        (("search", tmp_path / "x.db", "--top-k", "0", "x"), "--top-k must be at least 1"),
        (("remove", tmp_path / "x.db"), "no such command: remove"),
    ]:
        result = index(*arguments)
        assert result.status == 2, result
        assert said in result.stderr
        assert result.stderr.count("\n") == 1


def test_another_programs_database_is_left_alone(tmp_path):
    import sqlite3

    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is no index"):
        VectorIndex(path, create=True)
    assert path.read_bytes() == before


def test_what_was_not_committed_is_forgotten(tmp_path):
    path = tmp_path / "x.db"
    with VectorIndex(path, create=True) as store:
        store.require({"fingerprint": "f"})
        store.add("a", "red cat", b"\0" * 8)
        store.commit()
        store.add("b", "dog", b"\0" * 8)
    with VectorIndex(path) as store:
        assert store.count() == 1
        assert [numbers for numbers, _ in store.vectors(8)] == [[1]]
        assert store.entry(1).text == "red cat"


def test_the_word_index_can_be_embedded(bert):
    result = invoke("embed", "-m", str(bert), "--", "index", terminals=Terminals(stdin=True))
    assert json.loads(result.stdout)["index"] == 0
