"""Results as tables and JSON arrays, made of the lines that a run has kept."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from llamacli.batch.formats import result_format
from llamacli.batch.result_table import kept_file, publish
from llamacli.errors import LlamacliError, UsageError

USAGE = {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}
PLAIN = [
    {"row": 0, "id": "a", "text": "one\ntwo", "finish_reason": "stop", **USAGE, "timings": {"prompt_n": 3}},
    {"row": 2, "text": '"x"\ty', "tool_calls": [{"id": "c"}], "finish_reason": "tool_calls", **USAGE},
    {"row": 3, "id": "b", "error": {"type": "Usage", "message": "the prompt is empty"}},
]
BATCH = [
    {
        "id": "batch_req_0", "row": 0, "custom_id": "q", "error": None,
        "response": {"body": {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], **USAGE}},
    },
    {"id": "batch_req_1", "row": 1, "custom_id": "r", "response": None, "error": {"message": "no body"}},
]  # fmt: skip


def published(folder: Path, name: str, results: list[dict[str, Any]]) -> Path:
    target = folder / name
    kept_file(target).write_text("".join(json.dumps(one) + "\n" for one in results))
    publish(target, result_format(name))
    assert [path.name for path in folder.iterdir()] == [name]
    return target


def table(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.mark.parametrize(("name", "delimiter"), [("x.csv", ","), ("x.TSV", "\t")])
def test_a_table_has_a_row_for_each_result(tmp_path: Path, name: str, delimiter: str) -> None:
    found = table(published(tmp_path, name, PLAIN), delimiter)
    assert list(found[0]) == [
        "row", "id", "text", "tool_calls", "finish_reason", "prompt_tokens", "completion_tokens", "error",
    ]  # fmt: skip
    assert [row["row"] for row in found] == ["0", "2", "3"]
    assert [row["text"] for row in found] == ["one\ntwo", '"x"\ty', ""]
    assert [row["error"] for row in found] == ["", "", "the prompt is empty"]
    assert json.loads(found[1]["tool_calls"]) == [{"id": "c"}]
    assert found[0]["completion_tokens"] == "2"


def test_the_columns_of_the_input_are_between_the_row_and_the_answer(tmp_path: Path) -> None:
    inputs: list[dict[str, Any]] = [{"id": "a", "text": "mine", "n": 1, "ok": True}, {"id": "b", "text": "x", "n": [2]}]
    results = [{**PLAIN[number], "input": one} for number, one in enumerate(inputs)]
    found = table(published(tmp_path, "x.csv", results))
    assert list(found[0])[:6] == ["row", "id", "text", "n", "ok", "answer_text"]
    assert [(row["text"], row["n"], row["ok"], row["answer_text"]) for row in found] == [
        ("mine", "1", "true", "one\ntwo"), ("x", "[2]", "", '"x"\ty'),
    ]  # fmt: skip


def test_the_results_of_openai_batch_files(tmp_path: Path) -> None:
    found = table(published(tmp_path, "x.csv", BATCH))
    assert [(row["custom_id"], row["text"], row["prompt_tokens"], row["error"]) for row in found] == [
        ("q", "hi", "3", ""), ("r", "", "", "no body"),
    ]  # fmt: skip
    assert "id" not in found[0]


@pytest.mark.parametrize("results", [PLAIN, []])
def test_json_is_an_array_of_the_results(tmp_path: Path, results: list[dict[str, Any]]) -> None:
    assert json.loads(published(tmp_path, "x.json", results).read_text()) == results


def test_parquet_has_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    values = [(1, 0.5, True, 1 << 70, "\ud800"), (2, 3, False, 2, None)]
    results = [{**PLAIN[0], "row": row, "input": dict(zip("abcde", one, strict=True))} for row, one in enumerate(values)]
    found = parquet.read_table(published(tmp_path, "x.parquet", results))
    kinds = {name: str(found.schema.field(name).type) for name in ("row", "a", "b", "c", "d", "e", "text", "error")}
    assert kinds == {
        "row": "int64", "a": "int64", "b": "double", "c": "bool", "d": "string", "e": "string", "text": "string",
        "error": "string",
    }  # fmt: skip
    assert found.column("d").to_pylist() == [str(1 << 70), "2"]
    assert found.column("e").to_pylist() == ["\\ud800", None]


def test_what_cannot_be_written_leaves_the_kept_lines(tmp_path: Path) -> None:
    target = tmp_path / "x.csv"
    target.mkdir()
    kept_file(target).write_text(json.dumps(PLAIN[0]) + "\n")
    with pytest.raises(LlamacliError, match="cannot write"):
        publish(target, "csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.csv.partial"]


@pytest.mark.parametrize(
    ("name", "kind"), [("a.jsonl", "jsonl"), ("a.JSON", "json"), ("a.parquet", "parquet"), ("a", "jsonl"), ("a.log", "jsonl")]
)
def test_the_name_says_the_format(name: str, kind: str) -> None:
    assert result_format(name) == kind


def test_a_spreadsheet_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot be written as \.xlsx"):
        result_format("a.xlsx")
