"""`llamacli run --input --output`: files of results by name, columns of the input, and what is checked first."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from fakes import FakeEngine, Terminals, invoke
from row_runs import lines, run

from llamacli.cli.framework import context
from llamacli.cli.framework.backends import engine as backends

TABLE = "id,city\n1,Paris\n\n2,Rome\n"


@pytest.fixture
def cities(tmp_path: Path) -> Path:
    path = tmp_path / "cities.csv"
    path.write_text(TABLE)
    return path


def test_results_are_a_table_with_the_columns_of_the_input(tiny_model: Path, cities: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    result = run(
        tiny_model, "--input", str(cities), "--template", "About {city}", "--output", str(output), "--keep-columns"
    )  # fmt: skip
    assert (result.status, result.stdout) == (0, "")
    with output.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["row"], row["id"], row["city"]) for row in found] == [("0", "1", "Paris"), ("1", "2", "Rome")]
    assert all(row["text"] and row["finish_reason"] == "length" for row in found)
    assert [path.name for path in tmp_path.glob("out*")] == ["out.csv"]
    again = run(tiny_model, "--input", str(cities), "--template", "{city}", "--output", str(output))
    assert again.status == 2
    assert "already has content" in again.stderr
    resumed = run(tiny_model, "--input", str(cities), "--template", "{city}", "--output", str(output), "--resume")
    assert resumed.status == 0
    assert "is complete already" in resumed.stderr


def test_an_interrupted_table_is_resumed(tiny_model: Path, cities: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    row = {"row": 1, "id": "2", "text": "kept", "finish_reason": "stop"}
    (tmp_path / "out.json.partial").write_text(json.dumps(row) + "\n")
    common = ("--input", str(cities), "--template", "{city}", "--output", str(output))
    refused = run(tiny_model, *common)
    assert refused.status == 2
    assert "--resume continues it" in refused.stderr
    result = run(tiny_model, *common, "--resume")
    assert result.status == 0
    assert [(one["row"], one["id"]) for one in json.loads(output.read_text())] == [(0, "1"), (1, "2")]
    assert json.loads(output.read_text())[1]["text"] == "kept"


def test_a_run_that_stops_says_how_it_goes_on(tiny_model: Path, cities: Path, tmp_path: Path) -> None:
    cities.write_text("id,city\n1,Paris\n2\n")
    output = tmp_path / "out.csv"
    how = ("--input", str(cities), "--template", "{city}", "--fail-fast", "--parallel", "1")
    result = run(tiny_model, *how, "--output", str(output))
    assert result.status == 6
    assert f"results are kept in {output}.partial; --resume continues with the other rows" in " ".join(result.stderr.split())
    assert not output.exists()
    assert "--output FILE would let --resume continue" in run(tiny_model, *how).stderr


def test_kept_columns_in_json_lines(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("first\n\nthird\n")
    found = lines(run(tiny_model, "--input", str(path), "--keep-columns").stdout)
    assert [(row["row"], row["input"]) for row in found] == [(0, {"prompt": "first"}), (2, {"prompt": "third"})]


@pytest.mark.parametrize(
    ("name", "text", "template", "message"),
    [
        ("x.csv", TABLE, "{town} {nation}", "x.csv has no column town and no column nation (its columns are id, city)"),
        ("x.csv", TABLE, None, "x.csv has no column prompt (its columns are id, city)"),
        ("x.tsv", "", "{a}", "x.tsv has no columns"),
        ("x.txt", "a line\n", "{text}", "x.txt has no column text (its only column is prompt)"),
    ],
)
def test_a_missing_column_is_one_error_before_the_model_is_loaded(
    tmp_path: Path, name: str, text: str, template: str | None, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    engine = FakeEngine()
    arguments = ("run", "--input", str(path), *(("--template", template) if template else ()))
    result = invoke(*arguments, engine=engine)
    assert result.status == 2
    assert message in result.stderr
    assert engine.path is None


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl"])
def test_a_directory_as_output_is_an_error_before_the_model_is_loaded(tmp_path: Path, name: str) -> None:
    rows, output = tmp_path / "rows.txt", tmp_path / name
    rows.write_text("first\n")
    output.mkdir()
    engine = FakeEngine()
    result = invoke("run", "--input", str(rows), "--output", str(output), engine=engine)
    assert (result.status, engine.path) == (2, None)
    assert f"cannot write {output}: it is a directory" in " ".join(result.stderr.split())


def test_progress_counts_rows(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.txt"
    monkeypatch.setattr(backends, "DELAY_SECONDS", 0.0)
    path.write_text("one\n\ntwo\nthree\n")
    result = invoke(
        "run", "-m", str(tiny_model), "-t", "1", "-n", "3", "--input", str(path), "--parallel", "1",
        open_engine=context.open_engine, terminals=Terminals(stderr=True),
    )  # fmt: skip
    assert "of 3 rows" in result.stderr
