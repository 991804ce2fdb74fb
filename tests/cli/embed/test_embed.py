"""`llamacli embed`: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import Result, invoke
from rich.cells import cell_len
from tiny_bert import tiny_bert

from llamacli.cli.framework.console import Terminals
from llamacli.errors import DownloadError

ROOT = Path(__file__).parents[3]
PIPED = Terminals()
TERMINAL = Terminals(stdin=True, stdout=True, stderr=True)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert") / "bert.gguf")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert") / "rerank.gguf", rerank=True)


def embed(model: Path, *arguments: str, **how) -> Result:
    how.setdefault("terminals", Terminals(stdin="stdin" not in how))
    return invoke("embed", "-m", str(model), *arguments, **how)


def lines(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- forms ----------------------------------------------------------------------------------------------------------------


def test_off_a_terminal_each_text_is_a_line_of_json(bert):
    result = embed(bert, "red cat", "dog")
    assert (result.status, result.stderr) == (0, "")
    rows = lines(result)
    assert [(row["index"], row["tokens"], len(row["embedding"])) for row in rows] == [(0, 4, 32), (1, 3, 32)]
    assert np.linalg.norm(rows[0]["embedding"]) == pytest.approx(1, abs=1e-6)


def test_json_is_the_document_of_openai(bert):
    document = json.loads(embed(bert, "--json", "red cat", "dog").stdout)
    assert document["object"] == "list"
    assert [(row["object"], row["index"], len(row["embedding"])) for row in document["data"]] == [
        ("embedding", 0, 32), ("embedding", 1, 32),
    ]  # fmt: skip
    assert document["model"] == "tiny bert"
    assert document["usage"] == {"prompt_tokens": 7, "total_tokens": 7}


def test_an_empty_input_is_an_empty_document(bert):
    assert json.loads(embed(bert, "--json", stdin=b"").stdout)["data"] == []


def test_every_form_holds_the_same_numbers(bert, tmp_path):
    texts = ["red cat", "dog", "the cat sat on the mat"]
    expected = np.array([row["embedding"] for row in lines(embed(bert, *texts))], dtype=np.float32)
    raw = np.frombuffer(embed(bert, "--raw", *texts).stdout_bytes, dtype="<f4").reshape(-1, 32)
    assert (raw == expected).all()
    table = list(csv.DictReader(io.StringIO(embed(bert, "--csv", *texts).stdout)))
    assert [float(table[1][f"v{number}"]) for number in range(32)] == pytest.approx(expected[1].tolist(), rel=1e-7)
    for name in ("x.npy", "x.npz", "x.f32", "x.json", "x.jsonl", "x.csv"):
        result = embed(bert, "-o", str(tmp_path / name), *texts)
        assert (result.status, result.stdout, result.stderr) == (0, "", "")
    assert (np.load(tmp_path / "x.npy") == expected).all()
    with np.load(tmp_path / "x.npz") as archive:
        assert (archive["embeddings"] == expected).all()
        assert (archive["index"].tolist(), archive["part"].tolist()) == ([0, 1, 2], [0, 0, 0])
    assert (np.fromfile(tmp_path / "x.f32", dtype="<f4").reshape(-1, 32) == expected).all()
    assert len(json.loads((tmp_path / "x.json").read_text())["data"]) == 3
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "x.csv").read_text() == embed(bert, "--csv", *texts).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.f32", "x.json", "x.jsonl", "x.npy", "x.npz"]


def test_parquet(bert, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "x.parquet"
    assert embed(bert, "-o", str(target), "red cat", "", "dog").status == 6
    rows = parquet.read_table(target).to_pylist()
    assert [(row["index"], row["error"], len(row["embedding"] or [])) for row in rows] == [
        (0, None, 32), (1, "the text is empty", 0), (2, None, 32),
    ]  # fmt: skip


def test_parquet_without_its_library(bert, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = embed(bert, "-o", str(tmp_path / "x.parquet"), "cat")
    assert result.status == 2
    assert "llamacli[parquet]" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_a_line_for_each_text_and_never_pages_of_numbers(bert):
    result = embed(bert, *(f"cat {number}" for number in range(30)), "\x1b[31mred", terminals=TERMINAL, width=100)
    shown = result.stdout.splitlines()
    assert len(shown) == 21
    assert "32 numbers, norm 1.000:" in shown[0]
    assert shown[-1].strip() == "… and 11 more (-o FILE writes all)"
    assert "\x1b[31mred" not in embed(bert, "\x1b[31mred", terminals=TERMINAL).stdout


MANY_SCRIPTS = (
    "The quick brown fox.",
    "人工知能は面白い、とても面白い話である。",
    "한국어 문장 하나",
    "\x1b[31mred",
    "cat " * 50,
    "a",
)


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 200])
@pytest.mark.parametrize("mode", [(), ("--similarity",), ("--query", "cat")], ids=lambda mode: "".join(mode[:1]) or "view")
def test_no_line_is_longer_than_the_terminal_is_wide(bert, mode, width):
    shown = embed(bert, *mode, *MANY_SCRIPTS, *["x"] * (0 if mode else 20), terminals=TERMINAL, width=width).stdout.splitlines()
    assert max(cell_len(line) for line in shown) <= width
    if not mode:
        assert len({cell_len(line) for line in shown[:20]}) == 1
        assert all("tokens" in line for line in shown[:20])
        assert ("32 numbers" in shown[0], "norm 1.000" in shown[0], " +0." in shown[0]) == (width > 30, width > 40, width > 60)
    if mode == ("--similarity",):
        assert {line.rindex(".") - len(line) for line in shown if line.endswith(tuple("0123456789")) and "." in line} == {-4}
        assert len({cell_len(line) for line in shown[: len(MANY_SCRIPTS) + 1]}) == 1


def test_raw_bytes_never_reach_a_terminal(bert):
    assert embed(bert, "--raw", "cat", terminals=TERMINAL).status == 2


# --- texts ----------------------------------------------------------------------------------------------------------------


def test_lines_of_standard_input(bert):
    assert len(lines(embed(bert, stdin=b"\xef\xbb\xbfred cat\r\ndog\n"))) == 2
    both = lines(embed(bert, "cat", "-", stdin=b"red cat\ndog"))
    assert [row["tokens"] for row in both] == [3, 4, 3]
    assert len(lines(embed(bert, "cat", stdin=b"not read\n"))) == 1


def test_files_are_one_text_each(bert, tmp_path):
    (tmp_path / "a.txt").write_text("red cat\nsat on\n")
    result = embed(bert, "-f", str(tmp_path / "a.txt"), "-f", "-", stdin=b"dog\ndog")
    assert [(row["id"], row["tokens"]) for row in lines(result)] == [(str(tmp_path / "a.txt"), 6), ("-", 4)]


def test_rows_of_jsonl_with_errors_in_their_place(bert, tmp_path):
    rows = [
        b'{"id": 7, "text": "red cat"}', b'{"id": "x", "body": "dog"}', b"{broken", b'"dog"', b'{"text": 5}', b"[1]", b"",
        b'{"text": "\xff"}',
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))
    result = embed(bert, "--input", str(tmp_path / "rows.jsonl"))
    assert result.status == 6
    found = lines(result)
    assert [(row["index"], row.get("id"), "embedding" in row) for row in found] == [
        (0, 7, True), (1, "x", False), (2, None, False), (3, None, True), (4, None, False), (5, None, False), (6, None, False),
    ]  # fmt: skip
    assert found[1]["error"]["message"] == "line 2 has no field text (name another field)"
    assert "5 of 7 texts have no vector" in result.stderr
    other = embed(bert, "--input", str(tmp_path / "rows.jsonl"), "--field", "body")
    assert "embedding" in lines(other)[1]


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t")])
def test_rows_of_tables(bert, tmp_path, suffix, separator):
    text = f'id{separator}text\n1{separator}"red\ncat"\n2{separator}dog\n3\n'
    (tmp_path / f"rows.{suffix}").write_text(text)
    result = embed(bert, "--input", str(tmp_path / f"rows.{suffix}"))
    assert [(row.get("id"), "embedding" in row) for row in lines(result)] == [("1", True), ("2", True), ("3", False)]
    missing = embed(bert, "--input", str(tmp_path / f"rows.{suffix}"), "--field", "body")
    assert missing.status == 2
    assert "has no column body" in missing.stderr


def test_bytes_that_are_not_utf_8_are_an_error_of_their_line(bert):
    result = embed(bert, stdin=b"red cat\n\xff\xfe\xfd\ndog\n")
    assert result.status == 6
    assert ["embedding" in row for row in lines(result)] == [True, False, True]
    assert "line 2 is not UTF-8 text: byte 0xff at offset 0" in result.stderr


def test_empty_texts_and_texts_that_are_too_long_are_errors_in_their_place(bert):
    result = embed(bert, "--json", "", "cat " * 70, "dog", " \t")
    assert result.status == 6
    data = json.loads(result.stdout)["data"]
    assert [row["object"] for row in data] == ["error", "error", "embedding", "error"]
    assert "72 tokens, the limit is 64" in data[1]["error"]["message"]
    assert embed(bert, "").stderr == "llamacli: error: the text has no vector: the text is empty\n"
    raw = np.frombuffer(embed(bert, "--raw", "", "dog").stdout_bytes, dtype="<f4").reshape(-1, 32)
    assert np.isnan(raw[0]).all()
    assert np.isfinite(raw[1]).all()


def test_long_texts_are_cut_or_chunked_on_request(bert):
    long = "cat " * 100
    (row,) = lines(embed(bert, "--truncate", long))
    assert (row["truncated"], row["tokens"]) == (True, 64)
    (row,) = lines(embed(bert, "--chunk", "40:10", long))
    assert len(row["embedding"]) == 32
    rows = lines(embed(bert, "--chunk", "40:10", "--chunk-rows", long, "dog"))
    assert [(row["index"], row["chunk"]) for row in rows] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert [row["tokens"] for row in rows] == [42, 42, 42, 3]
    table = csv.DictReader(io.StringIO(embed(bert, "--csv", "--chunk", "70:9", "-c", "42", "--chunk-rows", long, "dog").stdout))
    assert [int(row["tokens"]) for row in table] == [42, 42, 40, 3]
    assert len(lines(embed(bert, "-c", "8", "--truncate", long))) == 1


def test_each_text_of_a_document_with_chunk_rows_has_an_array_of_vectors(bert, tmp_path):
    arguments = ("--json", "--chunk", "4", "--chunk-rows", "cat", "cat dog cat dog cat dog")
    embed(bert, "-o", str(tmp_path / "x.json"), *arguments)
    for text in (embed(bert, *arguments).stdout, (tmp_path / "x.json").read_text()):
        assert [np.shape(row["embedding"]) for row in json.loads(text)["data"]] == [(1, 32), (2, 32)]


def test_without_pooling_a_text_has_a_vector_for_each_token(bert, tmp_path):
    (row,) = lines(embed(bert, "--pooling", "none", "red cat"))
    assert np.array(row["embedding"]).shape == (4, 32)
    refused = embed(bert, "--pooling", "none", "-o", str(tmp_path / "x.npy"), "red cat")
    assert refused.status == 2
    assert ".npz" in refused.stderr
    assert embed(bert, "--pooling", "none", "-o", str(tmp_path / "x.npz"), "red cat", "dog").status == 0
    with np.load(tmp_path / "x.npz") as archive:
        assert archive["index"].tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_options_change_the_numbers(bert):
    plain = lines(embed(bert, "red cat"))[0]["embedding"]
    assert lines(embed(bert, "--prefix", "red ", "cat"))[0]["embedding"] == pytest.approx(plain, abs=1e-5)
    assert max(abs(number) for number in lines(embed(bert, "--normalize", "max", "red cat"))[0]["embedding"]) == 1
    assert len(lines(embed(bert, "--dims", "8", "red cat"))[0]["embedding"]) == 8
    assert lines(embed(bert, "--pooling", "cls", "red cat"))[0]["embedding"] != pytest.approx(plain, abs=1e-2)


def test_what_the_model_says_is_shown_on_request(bert, tiny_model):
    said = embed(bert, "-v", "cat").stderr
    assert "pooling mean, non-causal attention, at most 64 tokens per text, [CLS] before and [SEP] after each" in said
    assert "does not specify pooling: using the mean of all tokens" in embed(tiny_model, "Hello").stderr


@pytest.mark.parametrize("by_settings", [True, False])
def test_a_default_for_conversations_is_not_taken_for_vectors(bert, tiny_model, monkeypatch, tmp_path, by_settings):
    def find(app, reference, *, offline):
        if reference == "elsewhere" and offline:
            raise DownloadError("elsewhere is not on this machine")
        return bert if reference == "minilm" else Path(reference)

    def with_default(value: Path | str, *arguments: str) -> Result:
        monkeypatch.setenv("LLAMACLI_MODEL", "" if by_settings else str(value))
        defaults = {"defaults": {"model": str(value)}} if by_settings else {}
        return invoke("embed", *arguments, "cat", find_model=find, terminals=Terminals(stdin=True), **defaults)

    result = with_default(tiny_model, "--dims", "8")
    assert result.status == 0
    assert (
        result.stderr
        == f"llamacli: {tiny_model.name}, the default, is not an embedding model: using minilm (-m selects another model)\n"
    )
    assert len(lines(result)[0]["embedding"]) == 8
    assert "elsewhere, the default, is not on this machine: using minilm" in with_default("elsewhere").stderr
    result = with_default(bert)
    assert (result.status, result.stderr) == (0, "")
    given = with_default(tiny_model, "-m", str(tiny_model))
    assert "does not specify pooling" in given.stderr
    assert "minilm" not in given.stderr
    assert with_default(tmp_path / "missing.gguf").status == 3
    assert with_default(tiny_model, "--resume").status == 2
    added = with_default(tiny_model, "index", "add", str(tmp_path / "x.db"))
    assert (added.status, "using minilm" in added.stderr) == (0, True)
    assert json.loads(with_default(tiny_model, "index", "search", "--json", str(tmp_path / "x.db")).stdout)["results"]


# --- comparing ------------------------------------------------------------------------------------------------------------


def test_similarity(bert):
    document = json.loads(embed(bert, "--similarity", "red cat", "red cat", "dog").stdout)
    assert document["texts"] == ["red cat", "red cat", "dog"]
    matrix = np.array(document["matrix"])
    assert matrix[0, 1] == pytest.approx(1, abs=1e-4)
    assert np.allclose(matrix, matrix.T)
    table = embed(bert, "--similarity", "red cat", "dog", terminals=TERMINAL).stdout.splitlines()
    assert table[1].split()[:3] == ["1", "red", "cat"]
    assert table[1].split()[3] == "1.000"


def test_what_is_compared_is_named_though_others_fail(bert, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "red cat"}\n{"text": ""}\n{"text": "dog"}\n')
    result = embed(bert, "--similarity", "--input", str(tmp_path / "in.jsonl"))
    assert result.status == 6
    document = json.loads(result.stdout)
    assert (document["index"], document["id"], document["texts"]) == ([0, 2], ["a", None], ["a", "dog"])
    table = embed(bert, "--similarity", "cat", "", "dog", terminals=TERMINAL).stdout.splitlines()
    assert table[0].split() == ["1", "3"]
    assert [line.split()[0] for line in table[1:]] == ["1", "3"]


@pytest.mark.parametrize(("texts", "status"), [((), 0), (("",), 6)])
def test_nothing_compared_is_a_document_too(bert, texts, status):
    result = embed(bert, "--similarity", "--json", *texts, **({} if texts else {"stdin": b""}))
    assert result.status == status
    assert json.loads(result.stdout) == {"object": "similarity", "index": [], "texts": [], "matrix": []}


def test_a_query_finds_the_nearest(bert):
    result = embed(bert, "--query", "red cat", "--top-k", "2", "dog", "red cat", "blue dog ran")
    hits = lines(result)
    assert len(hits) == 2
    assert (hits[0]["index"], hits[0]["text"], hits[0]["score"]) == (1, "red cat", pytest.approx(1, abs=1e-4))
    assert hits[0]["score"] >= hits[1]["score"]
    document = json.loads(embed(bert, "--query", "red cat", "--json", "dog", "cat").stdout)
    assert len(document["results"]) == 2
    prefixed = lines(embed(bert, "--query", "cat", "--query-prefix", "red ", "red cat"))
    assert prefixed[0]["score"] == pytest.approx(1, abs=1e-4)
    assert "red cat" in embed(bert, "--query", "cat", "red cat", terminals=TERMINAL).stdout


def test_a_query_among_texts_of_which_some_fail(bert):
    result = embed(bert, "--query", "cat", "", "cat")
    assert result.status == 6
    assert [hit["index"] for hit in lines(result)] == [1]


def test_reranking(reranker, bert):
    hits = lines(embed(reranker, "--rerank", "who sat", "red cat", "dog", "cat sat on mat"))
    assert sorted(hit["index"] for hit in hits) == [0, 1, 2]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    refused = embed(bert, "--rerank", "who", "cat")
    assert refused.status == 3
    assert "not a reranking model" in refused.stderr


def test_a_reranking_model_makes_no_vectors(reranker, tmp_path):
    for arguments in (("--query", "cat", "dog"), ("--similarity", "cat", "dog")):
        refused = embed(reranker, *arguments)
        assert refused.status == 2
        assert "makes scores, not vectors (use --rerank QUERY)" in refused.stderr
    refused = invoke("embed", "index", "add", str(tmp_path / "x.db"), "-m", str(reranker), "cat")
    assert refused.status == 2
    assert "makes scores, not vectors" in refused.stderr
    scores = embed(reranker, "cat")
    assert "these are scores" in scores.stderr
    assert len(lines(scores)[0]["embedding"]) == 1


# --- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no text given"),
        (("--json", "--csv", "x"), "--json cannot be used with --csv"),
        (("--truncate", "--chunk", "9", "x"), "--truncate cannot be used with --chunk"),
        (("--chunk-rows", "x"), "--chunk-rows needs --chunk"),
        (("--chunk", "9:9", "x"), "must be smaller than a chunk"),
        (("--chunk", "9:-5", "x"), "overlap of chunks must be at least 0"),
        (("--chunk", "90:62", "x"), "chunks of at most 62 tokens, the context's limit, cannot overlap by 62"),
        (("--chunk", "9", "--chunk-rows", "--pooling", "none", "x"), "cannot be used with --pooling none"),
        (("-c", "2", "x", "x"), "leaves no room for text beside the 2 special tokens (use a larger -c)"),
        (("-c", "2", "--query", "x", "x"), "leaves no room for text"),
        (("-ub", "99999999999", "x"), "-ub must be at most 2147483647"),
        (("-b", "99999999999", "x"), "-b must be at most 2147483647"),
        (("--chunk", "many", "x"), "not a whole number"),
        (("--dims", "0", "x"), "--dims must be at least 1"),
        (("--dims", "64", "x"), "--dims 64 exceeds the 32"),
        (("--pooling", "sum", "x"), "'sum' is not one of"),
        (("--top-k", "3", "x"), "--top-k needs --query"),
        (("--query", "", "x"), "the text is empty"),
        (("--query", "x", "--similarity", "x"), "--similarity cannot be used with --query"),
        (("--query", "x", "-o", "x.npy", "x"), "write to standard output"),
        (("-o", "x.bmp", "x"), "its name does not select a format"),
        (("--resume", "x"), "--resume needs -o"),
        (("--input", "missing.jsonl"), "cannot read missing.jsonl"),
        (("-f", "missing.txt"), "missing.txt"),
        (("--similarity", "--pooling", "none", "x"), "one vector each"),
    ],
)
def test_what_makes_no_sense(bert, arguments, said):
    result = embed(bert, *arguments)
    assert result.status == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "budget"),
    [
        ((), 64),  # the longest text of this model
        (("-ub", "512"), 512),
        (("-b", "100"), 100),
        (("-ub", "9", "-b", "100"), 9),
        (("-ub", "100", "-b", "9"), 9),
    ],
)
def test_how_many_tokens_are_computed_together(bert, arguments, budget):
    result = embed(bert, "-v", *arguments, *["red cat sat on mat"] * 20)
    assert f"{budget} tokens per batch" in result.stderr
    alone = lines(embed(bert, "-ub", "1", "red cat sat on mat"))[0]["embedding"]
    assert np.allclose([row["embedding"] for row in lines(result)], alone, atol=1e-4)


@pytest.mark.parametrize("option", ["-b", "-ub"])
def test_a_batch_has_at_least_one_token(bert, option):
    refused = embed(bert, option, "0", "x")
    assert (refused.status, refused.stderr.count("\n")) == (2, 1)
    assert f"{option} must be at least 1" in refused.stderr


def test_a_batch_that_does_not_fit_is_told_in_terms_of_the_batch(bert, monkeypatch):
    from llamacli.engine.runtime import cache_size

    monkeypatch.setattr(cache_size, "available_memory", lambda: 1 << 28)
    refused = embed(bert, "-ub", "2000000000", "x")
    assert refused.status == 4
    assert refused.stderr == "llamacli: error: batches of 2,000,000,000 tokens do not fit in memory (use a smaller -ub)\n"


def test_a_model_that_cannot_embed(tmp_path):
    (tmp_path / "no.gguf").write_bytes(b"GGUF")
    assert embed(tmp_path / "no.gguf", "x").status == 3


# --- going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.npy", "x.npz", "x.f32"])
@pytest.mark.parametrize("kept", [0.01, 0.4, 0.66, 1])
def test_an_interrupted_run_goes_on(bert, tmp_path, name, kept):
    (tmp_path / "in.txt").write_text("".join(f"cat {'dog ' * (number % 7)}\n" for number in range(40)))
    whole, target = tmp_path / f"whole-{name}", tmp_path / name
    arguments = ("--input", str(tmp_path / "in.txt"), "-o")
    assert embed(bert, *arguments, str(whole)).status == 0
    stopped = interrupted(bert, *arguments, str(target))
    assert stopped.status == 130
    assert not target.exists()
    for path in tmp_path.glob(f"{name}.partial*"):
        if path.suffix != ".json":  # the crash came in the middle of a write
            path.write_bytes(path.read_bytes()[: round(path.stat().st_size * kept)])
    result = embed(bert, *arguments, str(target), "--resume")
    assert result.status == 0, result.stderr
    assert ("resuming after" in result.stderr) == (kept > 0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.txt", whole.name, name])
    assert same_numbers(target, whole)
    again = embed(bert, *arguments, str(target), "--resume")
    assert "nothing to do" in again.stderr


def interrupted(model: Path, *arguments: str) -> Result:
    """A run that Ctrl-C ends after 35 texts."""
    from llamacli.cli.embed import output as module

    real = module.outcomes

    def some(*given, **more):
        for number, outcome in enumerate(real(*given, **more)):
            if number == 35:
                raise KeyboardInterrupt
            yield outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "outcomes", some)
        return embed(model, *arguments)


def same_numbers(first: Path, second: Path) -> bool:
    """But for what F16 rounds otherwise in another place of a batch, a hundredth of what neighbours differ by."""
    arrays = [numbers(path) for path in (first, second)]
    return arrays[0].shape == arrays[1].shape and bool(np.allclose(*arrays, atol=5e-4))


def numbers(path: Path) -> np.ndarray:
    """The vectors of a file of 40 texts, which must be in order."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["index"] for row in rows] == list(range(40))
        return np.array([row["embedding"] for row in rows])
    if path.suffix == ".csv":
        table = table_of(path)
        assert [int(row["index"]) for row in table] == list(range(40))
        return np.array([[float(row[f"v{number}"]) for number in range(32)] for row in table])
    if path.suffix == ".npz":
        archive = arrays_of(path)
        assert archive["index"].tolist() == list(range(40))
        assert not archive["part"].any()
        return archive["embeddings"]
    return np.load(path) if path.suffix == ".npy" else np.fromfile(path, "<f4")


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an archive."""
    with np.load(path) as archive:
        return dict(archive)


def table_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.npz"])
def test_going_on_keeps_chunks_together_and_errors_in_their_place(bert, tmp_path, name):
    rows = [{"id": f'a\n,"{number}', "text": "cat dog " * (number % 5)} for number in range(40)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("--input", str(tmp_path / "in.jsonl"), "--chunk", "3", "--chunk-rows", "-o")
    whole, target = tmp_path / f"whole-{name}", tmp_path / name
    assert embed(bert, *arguments, str(whole)).status == 6
    assert interrupted(bert, *arguments, str(target)).status == 130
    for path in tmp_path.glob(f"{name}.partial*"):
        if path.suffix != ".json":
            path.write_bytes(path.read_bytes()[:-70])
    result = embed(bert, *arguments, str(target), "--resume")
    assert result.status == 6
    assert "resuming after" in result.stderr
    if name == "x.npz":
        first, second = arrays_of(target), arrays_of(whole)
        assert first["index"].tolist() == second["index"].tolist()
        assert first["part"].tolist() == second["part"].tolist()
        assert np.allclose(first["embeddings"], second["embeddings"], atol=1e-3)
    else:
        assert keys(target) == keys(whole)


def keys(path: Path) -> list[tuple]:
    """What identifies each row."""
    if path.suffix == ".csv":
        return [(row["index"], row["id"], row["part"], row["error"]) for row in table_of(path)]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["index"], row["id"], row.get("chunk"), row.get("error", {}).get("message")) for row in rows]


@pytest.mark.parametrize("name", ["x.json", "x.parquet"])
def test_what_cannot_be_gone_on_with_is_refused_and_leaves_nothing(bert, tmp_path, name):
    pytest.importorskip("pyarrow")
    assert interrupted(bert, "-o", str(tmp_path / name), *["cat"] * 40).status == 130
    assert list(tmp_path.iterdir()) == []
    refused = embed(bert, "-o", str(tmp_path / name), "--resume", "cat")
    assert refused.status == 2
    assert "an incomplete .json or .parquet file cannot be continued" in refused.stderr


def test_going_on_with_other_options_is_refused(bert, tmp_path):
    target = tmp_path / "x.jsonl"
    (tmp_path / "x.jsonl.partial").write_text('{"index": 0}\n{"index": 1}\n')
    (tmp_path / "x.jsonl.partial.json").write_text('{"settings": "other"}')
    result = embed(bert, "-o", str(target), "--resume", "cat")
    assert result.status == 2
    assert "another model or with other options" in result.stderr
    assert (tmp_path / "x.jsonl.partial").exists()


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.npy", "x.npz", "x.f32"])
def test_a_finished_file_is_what_was_asked_for_or_is_refused(bert, tmp_path, name):
    target = tmp_path / name
    texts = ("", "red cat", "the dog ran", " ")
    assert embed(bert, "--dims", "8", "-o", str(target), *texts).status == 6
    content = target.read_bytes()

    def again(*arguments: str) -> Result:
        result = embed(bert, "-o", str(target), "--resume", *arguments)
        assert target.read_bytes() == content
        assert [path.name for path in tmp_path.iterdir()] == [name]
        return result

    same = again("--dims", "8", *texts)
    assert same.status == 6
    assert "nothing to do" in same.stderr
    assert "2 of 4 texts have no vector" in same.stderr
    for other, said in (
        (("--dims", "4", *texts), ""),
        (("--dims", "8", "--normalize", "max", *texts), "other options"),
        (("--dims", "8", "", "blue dog", "the dog ran", " "), "other texts"),
        (("--dims", "8", *texts, "cat"), "fewer than were given"),
        (("--dims", "8", *texts[:2]), "more than were given"),
    ):
        refused = again(*other)
        assert (refused.status, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert said in refused.stderr
        assert "leave out --resume" in refused.stderr


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.npy", "x.npz", "x.f32"])
def test_going_on_remembers_what_failed_before(bert, tmp_path, name):
    (tmp_path / "in.txt").write_text("cat\n\n" + "red cat\n" * 38)
    arguments = ("--input", str(tmp_path / "in.txt"), "-o", str(tmp_path / name))
    assert interrupted(bert, *arguments).status == 130
    result = embed(bert, *arguments, "--resume")
    assert result.status == 6
    assert "1 of 40 texts has no vector" in result.stderr


def test_going_on_with_fewer_texts_than_are_done_is_refused(bert, tmp_path):
    arguments = ("-o", str(tmp_path / "x.jsonl"))
    assert interrupted(bert, *arguments, *["cat"] * 40).status == 130
    refused = embed(bert, *arguments, "--resume", "cat")
    assert refused.status == 2
    assert "34 texts are done already, but fewer were given" in refused.stderr
    assert embed(bert, *arguments, "--resume", *["cat"] * 40).status == 0


def test_one_process_writes_a_file(bert, tmp_path):
    from filelock import FileLock

    target = tmp_path / "x.jsonl"
    with FileLock(tmp_path / "x.jsonl.lock"):
        refused = embed(bert, "-o", str(target), "cat")
    assert refused.status == 1
    assert "another process is writing it" in refused.stderr
    assert embed(bert, "-o", str(target), "cat").status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the size of files")
@pytest.mark.parametrize(("name", "left"), [("x.json", []), ("x.jsonl", ["x.jsonl.partial", "x.jsonl.partial.json"])])
def test_a_full_disk_leaves_only_what_can_be_gone_on_with(bert, tmp_path, name, left):
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    command = [sys.executable, "-B", "-m", "llamacli", "embed", "-m", str(bert), "--dims", "8", "-o", str(tmp_path / name)]
    done = subprocess.run(
        [*command, *["red cat"] * 60], cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert done.returncode == 1
    assert f"cannot write {tmp_path / name}: File too large" in done.stderr
    assert ("resuming continues it" in done.stderr) == bool(left)
    assert sorted(path.name for path in tmp_path.iterdir()) == left


@pytest.mark.parametrize(
    "option", [("--rope-freq-scale", "0.5"), ("--rope-freq-base", "5000"), ("--rope-scaling", "linear"), ("--dims", "8")]
)
def test_what_changes_vectors_is_part_of_what_is_gone_on_with(bert, tmp_path, option):
    arguments = ("-o", str(tmp_path / "x.jsonl"), *["cat"] * 40)
    assert interrupted(bert, *arguments).status == 130
    refused = embed(bert, *arguments, "--resume", *option)
    assert refused.status == 2
    assert "another model or with other options" in refused.stderr


def test_a_file_that_cannot_be_written(bert, tmp_path):
    result = embed(bert, "-o", str(tmp_path / "no" / "x.npy"), "cat")
    assert result.status == 1
    assert "cannot write" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_texts_that_are_done(bert, tmp_path, monkeypatch):
    monkeypatch.setattr("llamacli.cli.embed.session.DELAY_SECONDS", 0)
    (tmp_path / "in.txt").write_text("red cat sat on mat\n" * 3000)
    arguments = ("--input", str(tmp_path / "in.txt"), "-o", str(tmp_path / "x.npy"))
    shown = embed(bert, *arguments, terminals=TERMINAL, width=100).stderr
    first = re.search(r"embedding ([\d,]+) texts, [\d,]+ texts/s, \d+:\d\d left [^\x1b\r]*?(\d+)%", shown)
    assert first is not None, shown
    assert round(int(first[1].replace(",", "")) / 30) == pytest.approx(int(first[2]), abs=1)


# --- the process ----------------------------------------------------------------------------------------------------------


def start(model: Path, *arguments: str, **how) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "llamacli", "embed", "-m", str(model), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("is_working", [True, False])
def test_a_signal_ends_work_and_waiting_with_its_own_status(bert, tmp_path, number, status, is_working):
    lines = tmp_path / "in.txt"
    lines.write_text("red cat sat on mat\n" * 20_000)
    with start(bert, *(["--input", str(lines)] if is_working else []), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if not is_working:
            process.stdin.write(b"red cat sat on mat\n" * 300)
            process.stdin.flush()
        assert json.loads(process.stdout.readline())["index"] == 0
        started = time.monotonic()
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(10) == status
        assert time.monotonic() - started < 3
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_file_that_can_be_resumed(bert, tmp_path, number, status):
    target, lines = tmp_path / "x.jsonl", tmp_path / "in.txt"
    lines.write_text("red cat sat on mat\n" * 20_000)
    with start(bert, "--input", str(lines), "-o", str(target)) as process:
        assert process.stderr is not None
        deadline = time.monotonic() + 30
        while not (tmp_path / "x.jsonl.partial").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(10) == status
        assert b"Traceback" not in process.stderr.read()
    assert not target.exists()
    resumed = embed(bert, "--input", str(lines), "-o", str(target), "--resume")
    assert (resumed.status, len(target.read_text().splitlines())) == (0, 20_000)


def test_a_closed_pipe_ends_the_program_silently(bert):
    script = f'"{sys.executable}" -m llamacli embed -m "{bert}" | head -1; echo "${{PIPESTATUS[0]}}"'
    text = b"red cat\n" * 5000
    done = subprocess.run(["bash", "-c", script], input=text, capture_output=True, cwd=ROOT, env=os.environ, check=False)
    assert done.stderr == b""
    assert done.stdout.splitlines()[-1] in (b"141", b"-13")


def test_no_other_command_imports_numpy():
    code = (
        "import sys; import llamacli.cli.embed.command, llamacli.cli.run.command, llamacli.cli.info.command;"
        "import llamacli.cli.models.command, llamacli.cli.config.command;"
        "import llamacli.engine.engine;"
        "from llamacli.cli.registry import REGISTRY; from llamacli.cli.program import Program; Program(REGISTRY);"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("form", [("--raw", "f32"), ("--jsonl",), ("--json",), ("--csv",), ("-o", "vectors.npy")])
def test_vectors_are_written_without_numpy(bert, tmp_path, form):
    command = [sys.executable, "-X", "importtime", "-m", "llamacli", "embed", "-m", str(bert), *form, "red cat", "blue dog"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, text=True, errors="replace", check=False)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert (done.returncode, "llamacli.render.embed" in imported, "numpy" in imported) == (0, True, False)
    assert len(done.stdout) > 0 or (tmp_path / "vectors.npy").stat().st_size > 128
