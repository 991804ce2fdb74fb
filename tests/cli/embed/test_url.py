"""`embed --url`: vectors and scores of a server are those of the model here, and one bad text does not fail the others."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Result, invoke
from odd_server import Asked, Script, odd_server, refused, response
from serving import LiveServer, serving, spec_of

from llamacli.backend.remote import retry


@pytest.fixture(scope="module")
def server(tiny_embedding_model: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_embedding_model, n_ctx=64)) as live:
        yield live


def rows_of(done: Result) -> list[list[float]]:
    assert done.status == 0, done.stderr
    return [json.loads(line)["embedding"] for line in done.stdout.splitlines()]


def vectors_for(asked: Asked) -> bytes:
    """As many vectors as texts, in base64, in the wrong order; a text "bad" fails the request."""
    texts = asked.document["input"]
    if "bad" in texts:
        return refused(400, "a bad text")
    data = [
        {"index": index, "embedding": base64.b64encode(struct.pack("<2f", 3 * len(text), 4 * len(text))).decode()}
        for index, text in enumerate(texts)
    ]
    return response(json.dumps({"data": data[::-1], "usage": {"prompt_tokens": len(texts)}}))


def test_vectors_are_those_of_the_model_here(server: LiveServer, tiny_embedding_model: Path) -> None:
    texts = ("a fox", "the snail", "a")
    here = invoke("embed", "-m", str(tiny_embedding_model), "--jsonl", *texts, find_model=lambda *a, **k: tiny_embedding_model)
    there = invoke("embed", "--url", server.base, "--jsonl", *texts)
    for one, other in zip(rows_of(here), rows_of(there), strict=True):
        assert other == pytest.approx(one, abs=1e-5)


def test_a_search_over_a_server(server: LiveServer) -> None:
    done = invoke("embed", "--url", server.base, "--query", "a fox", "--top-k", "1", "--json", "the snail", "a fox")
    assert done.status == 0, done.stderr
    assert "a fox" in done.stdout


def test_a_text_that_is_too_long_fails_alone() -> None:
    script = Script([vectors_for])
    with odd_server(script) as address:
        done = invoke("embed", "--url", address, "--jsonl", "one", "bad", "three")
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert done.status == 6
    assert first["embedding"] == third["embedding"] == pytest.approx([0.6, 0.8])
    assert "a bad text" in json.dumps(second["error"])


@pytest.mark.parametrize(
    "document",
    [{}, {"data": []}, {"data": [{"index": 0, "embedding": "?"}]}, {"data": [{"index": 0, "embedding": [[1.0]]}]},
     {"data": [{"index": 1, "embedding": [1.0]}]}, [], {"data": [{"index": 0, "embedding": []}]}],
)  # fmt: skip
def test_anything_but_vectors_is_status_7(document: object) -> None:
    with odd_server(Script([response(json.dumps(document))])) as address:
        done = invoke("embed", "--url", address, "one")
    assert (done.status, done.stdout) == (7, "")
    assert done.stderr.count("\n") == 1


def test_scores_of_a_server_sort_texts() -> None:
    def scores(asked: Asked) -> bytes:
        found = [{"index": i, "relevance_score": len(text)} for i, text in enumerate(asked.document["documents"])]
        return response(json.dumps({"results": found}))

    with odd_server(Script([scores])) as address:
        done = invoke("embed", "--url", address, "--rerank", "q", "--jsonl", "aa", "aaaa", "a")
    assert done.status == 0, done.stderr
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["aaaa", "aa", "a"]


@pytest.mark.parametrize("arguments", [("--pooling", "mean"), ("--attention", "causal"), ("--chunk", "5")])
def test_what_needs_a_model_here_is_refused(arguments: tuple[str, ...]) -> None:
    with odd_server(Script([vectors_for])) as address:
        done = invoke("embed", "--url", address, *arguments, "one")
    assert done.status == 2
    assert done.stdout == ""


def slow(asked: Asked) -> bytes:
    time.sleep(0.03)
    return vectors_for(asked)


def test_texts_are_shared_by_servers_and_one_that_dies_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_SECONDS", 0.01)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join("x" * (number % 40 + 1) for number in range(700)))
    alive, dying = Script([slow]), Script([vectors_for, vectors_for, refused(500)])
    with odd_server(alive) as one, odd_server(dying) as other:
        done = invoke("embed", "--url", one, "--url", other, "--input", str(texts), "--normalize", "none")
    assert [row[0] for row in rows_of(done)] == [3.0 * (number % 40 + 1) for number in range(700)]
    assert len(alive.posts) + len(dying.posts) > 11
    assert len(dying.posts) > 1


def test_servers_with_other_models_are_refused() -> None:
    def three(asked: Asked) -> bytes:
        return response(json.dumps({"data": [{"index": 0, "embedding": [1.0, 2.0, 3.0]}]}))

    with odd_server(Script([vectors_for])) as one, odd_server(Script([three])) as other:
        done = invoke("embed", "--url", one, "--url", other, "text")
    assert done.status == 2
    assert "vectors of 3 numbers" in done.stderr


def test_an_index_of_a_server_is_searched_with_it(server: LiveServer, tmp_path: Path) -> None:
    index = str(tmp_path / "notes.db")
    added = invoke("embed", "index", "add", index, "--url", server.base, "a fox", "the snail")
    assert added.status == 0, added.stderr
    found = invoke("embed", "index", "search", index, "a fox", "--url", server.base, "--top-k", "1")
    assert json.loads(found.stdout)["text"] == "a fox"
    alone = invoke("embed", "index", "search", index, "a fox")
    assert (alone.status, alone.stdout) == (2, "")
    assert f"--url {server.base}" in alone.stderr


def test_files_and_questions_go_to_the_server_of_the_index(server: LiveServer, tmp_path: Path) -> None:
    index, docs = str(tmp_path / "notes.db"), tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# a fox\nruns\n\n# the snail\nis slow\n")
    added = invoke("embed", "index", "add", index, str(docs), "--url", server.base)
    assert (added.status, "2 texts in the index" in added.stderr) == (0, True), added
    (docs / "a.md").write_text("# a fox\nruns\n")
    assert "1 changed" in invoke("embed", "index", "update", index, "--url", server.base).stderr
    refused = invoke("run", "--index", index, "fox")
    assert (refused.status, f"--url {server.base}" in refused.stderr) == (2, True)


def test_an_index_keeps_to_one_model(server: LiveServer, tmp_path: Path) -> None:
    index = str(tmp_path / "notes.db")
    with odd_server(Script([vectors_for])) as address:
        assert invoke("embed", "index", "add", index, "--url", address, "one").status == 0
    done = invoke("embed", "index", "add", index, "-m", "tiny", "--url", server.base, "two")
    assert done.status == 2
    assert "vectors of another model" in done.stderr
