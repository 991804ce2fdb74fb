"""`llamacli embed index`: texts and their vectors in one file."""

from __future__ import annotations

import itertools
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from documents import pdf
from fakes import Result, invoke
from tiny_bert import tiny_bert

from llamacli.cli.embed.index import folders
from llamacli.cli.embed.index import texts as index_texts
from llamacli.cli.embed.session import outcomes
from llamacli.cli.framework.console import Terminals
from llamacli.errors import ModelNotFoundError, UsageError
from llamacli.store.vectors.index import VectorIndex


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
    assert "2 texts added, 1 unchanged; 2 in total" in first.stderr
    again = index("add", db, "-m", bert, "dog", "blue dog")
    assert "1 text added, 1 unchanged; 3 in total" in again.stderr


def test_a_text_with_an_id_takes_the_place_of_the_earlier_one(bert, tmp_path):
    db, note = tmp_path / "x.db", tmp_path / "note.txt"
    note.write_text("red cat")
    index("add", db, "-m", bert, "-f", note)
    note.write_text("blue dog")
    assert "0 texts added, 1 replaced, 0 unchanged; 1 in total" in index("add", db, "-m", bert, "-f", note).stderr
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
        assert refused.status == 2
        assert refused.stderr.count("\n") == 1
    assert index("rm", db).status == 2
    assert index("rm", tmp_path / "none.db", "n1").status == 2
    assert count(db) == 5
    assert b"secret" in db.read_bytes()
    gone = index("rm", db, "n1", "n3", "n1", "--number", hit["index"])
    assert (gone.status, gone.stdout, gone.stderr) == (0, "", "llamacli: 3 texts removed; 2 in total\n")
    assert b"secret" not in db.read_bytes()
    left = json.loads(index("search", db, "a", "--json").stdout)["results"]
    assert sorted(row["id"] for row in left) == ["n0", "n2"]
    assert "2 texts added, 2 unchanged; 4 in total" in index("add", db, "-m", bert, "--input", rows).stderr


def test_searching_takes_the_model_and_the_settings_of_the_index(bert, tmp_path):
    db = tmp_path / "x.db"
    index("add", db, "-m", bert, "--pooling", "cls", "--dims", "16", "red cat", "dog ran", "mat")
    hits = [json.loads(line) for line in index("search", db, "red cat", "--top-k", "2").stdout.splitlines()]
    assert hits[0]["text"] == "red cat"
    assert (len(hits), hits[0]["score"]) == (2, pytest.approx(1, abs=1e-4))
    shown = index("search", db, "red cat", terminals=Terminals(stdin=True, stdout=True)).stdout
    assert shown.splitlines()[0].split() == ["1.0000", "red", "cat"]
    document = json.loads(index("info", db, "--json").stdout)
    assert (document["pooling"], document["dimensions"], document["model"]) == ("cls", 16, "tiny bert")
    assert "dimensions   16" in index("info", db).stdout


def test_vectors_of_another_model_or_made_otherwise_are_refused(bert, tiny_embedding_model, tmp_path):
    db = tmp_path / "x.db"
    index("add", db, "-m", bert, "red cat")
    for arguments, said in [
        (("add", db, "-m", tiny_embedding_model, "dog"), "has vectors of another model"),
        (("add", db, "--dims", "8", "dog"), "dimensions 32, not 8"),
        (("add", db, "--prefix", "note: ", "dog"), "prefix (none), not note: "),
        (("search", db, "-m", tiny_embedding_model, "dog"), "another model"),
    ]:
        result = index(*arguments)
        assert result.status == 2, result
        assert said in result.stderr
    assert count(db) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE texts SET vector = zeroblob(12)", "is corrupt"),
        ("UPDATE texts SET vector = 'x'", "is corrupt"),
        ("UPDATE about SET value = 'many' WHERE name = 'dimensions'", "is corrupt"),
        ("UPDATE about SET value = '0' WHERE name = 'dimensions'", "is corrupt"),
        ("DELETE FROM about WHERE name = 'pooling'", "is corrupt"),
        ("UPDATE about SET value = 'sum' WHERE name = 'pooling'", "is corrupt"),
        ("UPDATE about SET value = '999999' WHERE name = 'dimensions'", "exceeds the 32 dimensions"),
    ],
)
def test_a_damaged_index_is_an_error_in_one_line(bert, tmp_path, change, said):
    db = tmp_path / "x.db"
    index("add", db, "-m", bert, "red cat", "dog")
    with closing(sqlite3.connect(db)) as database:
        database.execute(change)
        database.commit()
    result = index("search", db, "red cat")
    assert result.status == 2
    assert said in result.stderr
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
    kept, error = result.stderr.splitlines()
    assert kept == "llamacli: 1 text added, 0 unchanged; 1 in total"
    assert "2 of 3 texts have no vector" in error
    assert count(db) == 1
    assert index("add", db, "--chunk", "40", "cat " * 100).status == 0
    assert count(db) == 2


def test_what_is_no_index(bert, tmp_path):
    (tmp_path / "text.db").write_text("not a database at all, but long enough to look at" * 20)
    for arguments, said in [
        (("search", tmp_path / "missing.db", "x"), "index not found"),
        (("add", tmp_path), f"llamacli embed index add DB {tmp_path} indexes its files"),
        (("info", tmp_path / "text.db"), "is not a vector index"),
        (("info", tmp_path), f"cannot use the index {tmp_path}: it is a folder"),
        (("add", tmp_path, "a text"), f"cannot use the index {tmp_path}: it is a folder"),
        (("add", tmp_path / "x.db", "-m", bert, "--pooling", "none", "x"), "one vector for each text"),
        (("search", tmp_path / "x.db", "--top-k", "0", "x"), "--top-k must be at least 1"),
        (("remove", tmp_path / "x.db"), "no such command: remove"),
        (("search", tmp_path / "x.db"), "QUERY is missing (write llamacli embed index search DB QUERY)"),
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
    with pytest.raises(UsageError, match="is not a vector index"):
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


def rows(path: Path, *documents: object) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def no_model(app, reference, *, offline):
    raise ModelNotFoundError(f"file not found: {reference}")


def interrupted(app, reference, *, offline):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "how", "status"),
    [
        (["hello"], {"find_model": no_model}, 3),
        (["hello"], {"find_model": interrupted}, 130),
        (["--dims", "9999", "hello"], {}, 2),
        ([""], {}, 6),
    ],
)
def test_an_add_that_failed_leaves_no_file_and_the_next_one_begins_anew(bert, tmp_path, arguments, how, status):
    db = tmp_path / "x.db"
    assert index("add", db, "-m", bert, *arguments, **how).status == status
    assert not db.exists()
    assert index("add", db, "-m", bert, "red cat").status == 0
    assert count(db) == 1


def test_an_index_without_texts_takes_vectors_made_in_any_way(bert, tmp_path):
    db = tmp_path / "x.db"
    index("add", db, "-m", bert, "--dims", "8", "red cat")
    assert index("rm", db, "--number", "1").stderr == "llamacli: 1 text removed; 0 in total\n"
    assert index("search", db, "red cat").stderr == f"llamacli: error: {db} is empty\n"
    assert index("add", db, "red cat").status == 0
    assert json.loads(index("info", db, "--json").stdout)["dimensions"] == 32


@pytest.mark.parametrize("said_by", ["environment", "settings"])
def test_only_the_command_line_counts_more_than_the_model_of_the_index(
    bert, tiny_embedding_model, tmp_path, isolated_home, monkeypatch, said_by
):
    db = tmp_path / "x.db"
    index("add", db, "-m", bert, "red cat")
    if said_by == "environment":
        monkeypatch.setenv("LLAMACLI_MODEL", str(tiny_embedding_model))
    else:
        settings = isolated_home / "config.toml"
        settings.write_text(f"[defaults]\nmodel = '{tiny_embedding_model}'\n\n[models.'{bert.name}']\nprefix = 'a '\n")
        monkeypatch.setenv("LLAMACLI_CONFIG", str(settings))
    assert index("search", db, "red cat").status == 0
    added = index("add", db, "--prefix", "", "dog")
    assert (added.status, count(db)) == (0, 2)
    assert "another model" in index("search", db, "-m", tiny_embedding_model, "cat").stderr
    if said_by == "settings":  # the index's model has its own, as if it had been named
        assert "prefix (none), not a " in index("add", db, "bird").stderr
    assert index("add", tmp_path / "new.db", "dog").status == 0
    about = json.loads(index("info", tmp_path / "new.db", "--json").stdout)
    assert about["reference"] == str(tiny_embedding_model)


def test_of_several_texts_with_one_id_the_last_is_kept(bert, tmp_path):
    db, path = tmp_path / "x.db", tmp_path / "rows.jsonl"
    for texts in (["red", "blue", "red"], ["blue", "red"], ["red", "blue"]):
        index("add", db, "-m", bert, "--input", rows(path, *({"id": "x", "text": text} for text in texts)))
        (hit,) = json.loads(index("search", db, "red", "--json").stdout)["results"]
        assert hit["text"] == texts[-1]


def test_rows_without_an_id_do_not_replace_each_other(bert, tmp_path):
    (tmp_path / "rows.csv").write_text("id,text\n,red\n,blue\n")
    assert "2 texts added" in index("add", tmp_path / "x.db", "-m", bert, "--input", tmp_path / "rows.csv").stderr
    assert count(tmp_path / "x.db") == 2


def test_text_that_no_database_can_hold_is_an_error_of_its_row(bert, tmp_path):
    db = tmp_path / "x.db"
    broken = [{"id": "x", "text": "a\ud800b"}, {"id": "\udfff", "text": "cat"}, "\ud800", {"id": "y", "text": "ok"}]
    result = index("add", db, "-m", bert, "--input", rows(tmp_path / "rows.jsonl", *broken))
    assert result.status == 6
    assert "3 of 4 texts have no vector" in result.stderr
    assert "line 1: the field text has half of a surrogate pair, \\ud800 at offset 1" in result.stderr
    assert count(db) == 1
    (tmp_path / "rows.csv").write_bytes(b"id,text\n\xe9,dog\nz,bird\n")
    result = index("add", db, "--input", tmp_path / "rows.csv")
    assert (result.status, count(db)) == (6, 2)
    assert "line 2: the field id is not UTF-8 text" in result.stderr


def test_a_file_whose_name_is_not_utf_8_has_an_id_that_can_be_typed(bert, tmp_path):
    db, name = tmp_path / "x.db", tmp_path / "caf\udce9.txt"
    name.write_text("red cat")
    assert index("add", db, "-m", bert, "-f", name).status == 0
    (hit,) = json.loads(index("search", db, "cat", "--json").stdout)["results"]
    assert hit["id"] == f"{tmp_path}/caf\\udce9.txt"
    assert index("rm", db, hit["id"]).status == 0


def test_the_model_of_an_index_is_found_from_every_folder(bert, tmp_path, monkeypatch):
    db = tmp_path / "x.db"
    monkeypatch.chdir(bert.parent)
    for reference in ("./bert.gguf", "bert.gguf"):
        added = index("add", db, "-m", reference, "red cat")
        assert added.status == 0, added.stderr
        assert json.loads(index("info", db, "--json").stdout)["reference"] == str(bert.resolve())
    monkeypatch.chdir(tmp_path)
    assert index("search", db, "cat").status == 0


def test_a_model_that_has_a_name_keeps_it(bert, tmp_path):
    db = tmp_path / "x.db"
    index("add", db, "-m", "minilm", "red cat", find_model=lambda app, reference, *, offline: bert)
    assert json.loads(index("info", db, "--json").stdout)["reference"] == "minilm"


def test_an_interrupted_add_says_what_it_kept(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(index_texts, "COMMIT_EVERY", 2)

    def interrupted_late(*arguments):
        yield from itertools.islice(outcomes(*arguments), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(index_texts, "outcomes", interrupted_late)
    result = index("add", tmp_path / "x.db", "-m", bert, "cat", "dog", "mat", "red")
    assert (result.status, result.stderr) == (130, "llamacli: 3 texts added, 0 unchanged; 3 in total\n")
    assert count(tmp_path / "x.db") == 3


def test_the_word_index_can_be_embedded(bert):
    result = invoke("embed", "-m", str(bert), "--", "index", terminals=Terminals(stdin=True))
    assert json.loads(result.stdout)["index"] == 0


def folder_of(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a.md").write_text("# red cat\nthe cat sat\n\n# blue dog\nthe dog ran on the mat\n")
    (docs / "sub/b.txt").write_text("hello world\n")
    (docs / ".gitignore").write_text("*.log\n.gitignore\n")
    (docs / "x.log").write_text("hello\n")
    (docs / "report.pdf").write_bytes(pdf("who is hello", "", "what is blue"))
    return docs


def test_a_folder_is_indexed_in_passages_with_their_places(bert, tmp_path, monkeypatch):
    db, docs = tmp_path / "x.db", folder_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    added = index("add", db, "docs", "-m", bert)
    assert (added.status, added.stdout) == (0, "")
    assert added.stderr == f"llamacli: {docs}: 3 files added, 0 changed, 0 removed, 0 unchanged; 5 texts in the index\n"
    hits = json.loads(index("search", db, "blue dog", "--top-k", "9", "--json").stdout)["results"]
    places = {(Path(hit["id"]).name, str(hit.get("lines") or hit["place"])) for hit in hits}
    assert places == {
        ("a.md", "[1, 2]"), ("a.md", "[4, 5]"), ("b.txt", "[1, 1]"), ("report.pdf", "page 1"), ("report.pdf", "page 3"),
    }  # fmt: skip
    (hit,) = index(
        "search", db, "dog", "--search-mode", "words", "--top-k", "1", terminals=Terminals(stdin=True, stdout=True)
    ).stdout.splitlines()
    assert "docs/a.md:4-5: # blue dog" in hit
    shown = json.loads(index("info", db, "--json").stdout)
    assert shown["folders"] == [{"path": str(docs), "files": 3, "chunk": 200, "overlap": 30}]


def test_an_update_without_changes_needs_no_model(bert, tmp_path):
    db, docs = tmp_path / "x.db", folder_of(tmp_path)
    index("add", db, docs, "-m", bert)
    for command in (("update", db), ("add", db, docs)):
        result = index(*command, find_model=no_model)
        assert (result.status, "3 unchanged; 5 texts" in result.stderr) == (0, True), result
    (docs / "sub/b.txt").write_text("hello red world\n")
    (docs / "a.md").unlink()
    assert index("update", db, find_model=no_model).status == 3
    result = index("update", db)
    assert "0 files added, 1 changed, 0 removed, 1 unchanged; 3 texts" in result.stderr


def test_a_folder_is_followed_until_ctrl_c(bert, tmp_path, monkeypatch):
    db, docs = tmp_path / "x.db", folder_of(tmp_path)
    changes = [
        lambda: (docs / "new.md").write_text("red mat"),
        lambda: docs.rename(docs.with_name("away")),
        lambda: docs.with_name("away").rename(docs),
        lambda: (docs / "new.md").unlink(),
    ]

    def change(_seconds):
        if not changes:
            raise KeyboardInterrupt
        changes.pop(0)()

    monkeypatch.setattr(folders.time, "sleep", change)
    result = index("add", db, docs, "-m", bert, "--watch")
    assert result.status == 130
    assert [line.split("; ")[0].split(": ")[-1] for line in result.stderr.splitlines()] == [
        "3 files added, 0 changed, 0 removed, 0 unchanged",
        "waiting for changes",
        "1 file added, 0 changed, 0 removed, 3 unchanged",
        f"{docs} does not exist",
        "0 files added, 0 changed, 1 removed, 3 unchanged",
    ]
    assert count(db) == 5


def test_files_and_folders_are_forgotten_by_name(bert, tmp_path, monkeypatch):
    db, docs = tmp_path / "x.db", folder_of(tmp_path)
    index("add", db, docs, "-m", bert)
    monkeypatch.chdir(tmp_path)
    assert index("rm", db, "docs/a.md").stderr == "llamacli: 2 texts removed; 3 in total\n"
    assert "1 file added" in index("update", db).stderr
    assert index("rm", db, "docs").status == 0
    assert count(db) == 0
    assert "follows no folder" in index("update", db).stderr


def test_passages_of_named_files(bert, tmp_path):
    db, docs = tmp_path / "x.db", folder_of(tmp_path)
    result = index("add", db, "-m", bert, "-f", docs / "a.md", "--chunk-rows", "--chunk", "4:1", "plain text")
    assert result.status == 0, result
    lines = [json.loads(line) for line in index("search", db, "cat", "--top-k", "99").stdout.splitlines()]
    assert {str(hit.get("lines")) for hit in lines} >= {"None", "[1, 1]", "[5, 5]"}
    (docs / "a.md").write_text("hello")
    assert "1 changed" in index("update", db).stderr
    assert count(db) == 2


def test_what_cannot_be_added(bert, tmp_path):
    db, docs = tmp_path / "x.db", folder_of(tmp_path)
    index("add", db, docs, "-m", bert)
    for arguments, said in [
        (("add", db, docs / "sub"), f"{docs / 'sub'} is in {docs}, which the index follows already"),
        (("add", db, tmp_path), f"{tmp_path} contains {docs}"),
        (("add", db, docs.anchor), f"{docs.anchor} contains {docs}"),
        (("add", db, "--chunk-rows", "text"), "--chunk-rows is for the files of -f"),
        (("add", db, "--watch", "text"), "--watch needs a folder"),
        (("add", db, docs, "--chunk", "5:5"), "the overlap of chunks must be smaller"),
        (("update", tmp_path / "none.db"), "index not found"),
    ]:
        result = index(*arguments)
        assert (result.status, result.stderr.count("\n")) == (2, 1), result
        assert said in result.stderr
    other = tiny_bert(tmp_path / "other.gguf", change={"general.name": "other", "bert.attention.layer_norm_epsilon": 1e-5})
    refused = index("add", db, docs, "-m", other)
    assert (refused.status, "has vectors of another model" in refused.stderr) == (2, True)


def test_the_name_of_a_file_is_a_text_and_a_long_text_no_name(bert, tmp_path, monkeypatch):
    folder_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = index("add", "x.db", "-m", bert, "docs/a.md", "cat " * 20)
    assert result.status == 0
    assert result.stderr.splitlines()[0] == (
        "llamacli: warning: docs/a.md is the name of a file, but is added as a text (-f docs/a.md adds the file)"
    )


def test_an_empty_folder_makes_no_index(bert, tmp_path):
    (tmp_path / "empty").mkdir()
    result = index("add", tmp_path / "x.db", tmp_path / "empty", "-m", bert)
    assert (result.status, "0 files added" in result.stderr) == (0, True)
    assert not (tmp_path / "x.db").exists()


def test_an_evaluation_compares_the_ways_of_searching(bert, tmp_path):
    db, docs = tmp_path / "x.db", folder_of(tmp_path)
    index("add", db, docs, "-m", bert)
    questions = rows(
        tmp_path / "q.jsonl",
        {"query": "cat", "relevant": "docs/a.md:2"},
        {"query": "blue", "relevant": ["report.pdf, page 3", "docs/a.md:4-5"]},
    )
    rank = tiny_bert(tmp_path / "rank.gguf", rerank=True)
    document = json.loads(index("eval", db, questions, "--top-k", "4", "--reranker", rank, "--json").stdout)
    assert document["questions"] == 2
    assert [one["search"] for one in document["searches"]] == ["hybrid", "vectors", "words", "hybrid, reranked"]
    words = document["searches"][2]
    assert words["recall"] == {"1": 0.75, "3": 1.0, "4": 1.0}
    assert words["mrr"] == 1.0
    table = index("eval", db, questions, width=200).stdout.splitlines()
    assert table[0].split() == ["search", "recall@1", "recall@3", "recall@5", "recall@10", "MRR", "ms"]
    for line, said in (
        ({"query": 3, "relevant": "x"}, "line 1: `query` is not a text"),
        ({"query": "x", "relevant": []}, "line 1: `relevant` is not a text or a list of texts"),
    ):
        refused = index("eval", db, rows(tmp_path / "bad.jsonl", line))
        assert (refused.status, said in refused.stderr) == (2, True), refused
    assert "has no questions" in index("eval", db, rows(tmp_path / "none.jsonl")).stderr


def test_a_full_disk_is_told_in_one_line_and_keeps_what_was_there(bert, tmp_path, monkeypatch):
    db, docs = tmp_path / "x.db", folder_of(tmp_path)
    index("add", db, docs, "-m", bert)
    size = db.stat().st_size
    (docs / "big.md").write_text("\n\n".join(f"# {number} cat\nred dog {number}" for number in range(300)))
    connect = sqlite3.connect

    def small(*arguments, **how):
        connection = connect(*arguments, **how)
        connection.execute(f"PRAGMA max_page_count = {size // 16384}")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    result = index("update", db)
    assert (result.status, result.stderr.count("error:")) == (1, 1), result
    assert "database or disk is full" in result.stderr
    monkeypatch.undo()
    assert count(db) == 5
    assert "1 file added" in index("update", db).stderr
