"""`llamacli run --input` under hostile input, output files that are not ours or in use, and many rows behind one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import invoke
from in_process import open_in_process
from row_runs import answers, lines, run, write

from llamacli.batch.results import ResultFile
from llamacli.cli.framework import context


def held_back(monkeypatch: pytest.MonkeyPatch, most: int = 8) -> None:
    monkeypatch.setattr("llamacli.batch.runner.MAX_HELD_BACK", most)


def test_many_rows_that_fail_behind_one_that_has_not_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_back(monkeypatch)
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a"}, *[{"bad": 1}] * 40, {"prompt": "b"}, *[{"bad": 1}] * 9])
    for more in ([], ["--unordered"], ["--parallel", "1"]):
        result = run(tiny_model, "--input", str(path), *more)
        found = lines(result.stdout)
        assert sorted(row["row"] for row in found) == list(range(51))
        assert (result.status, [row["row"] for row in found if "error" not in row]) == (6, [0, 41])
        if not more:
            assert [row["row"] for row in found] == list(range(51))


@pytest.mark.parametrize("more", [[], ["--unordered"]])
def test_resuming_over_a_hole_before_many_rows(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    held_back(monkeypatch)
    path = write(tmp_path / "rows.jsonl", [{"prompt": f"row {number}"} for number in range(60)])
    output = write(tmp_path / "results.jsonl", [{"row": number, "text": "kept"} for number in range(1, 50)])
    result = run(tiny_model, "--input", str(path), "--output", str(output), "--resume", *more)
    assert (result.status, "49 rows are done already" in result.stderr) == (0, True)
    numbers = [row["row"] for row in lines(output.read_bytes())]
    assert sorted(numbers) == list(range(60))
    assert (numbers == sorted(numbers)) is not bool(more)


def test_results_of_interrupted_runs_are_put_in_order(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": f"row {number}"} for number in range(12)])
    output = write(tmp_path / "results.jsonl", [{"row": number, "text": "kept"} for number in (0, 1, 3, 9, 2, 4, 11)])
    output.chmod(0o640)
    link = tmp_path / "link.jsonl"
    link.symlink_to(output)
    assert run(tiny_model, "--input", str(path), "--output", str(link), "--resume").status == 0
    found = lines(output.read_bytes())
    assert [row["row"] for row in found] == list(range(12))
    assert [row["row"] for row in found if row["text"] == "kept"] == [0, 1, 2, 3, 4, 9, 11]
    assert (link.is_symlink(), output.stat().st_mode & 0o777) == (True, 0o640)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link.jsonl", "results.jsonl", "rows.jsonl"]


def test_putting_in_order_keeps_every_line_and_says_what_stops_it(tmp_path: Path) -> None:
    path = write(tmp_path / "results.jsonl", [{"row": 2}, {"row": 0, "a": 1}, {"row": 2, "b": 1}, {"row": 0}])
    results = ResultFile(path, lambda data: None, resume=True)
    assert results.kept == 2
    results.write({"row": 1, "c": "x" * 100_000})
    results.put_in_order()
    results.close()
    assert [sorted(row) for row in lines(path.read_bytes())] == [["a", "row"], ["row"], ["c", "row"], ["row"], ["b", "row"]]
    results = ResultFile(path, lambda data: None, resume=True)
    results.put_in_order()  # lines of one row twice: sorted as they are
    results.close()
    assert [row["row"] for row in lines(path.read_bytes())] == [0, 0, 1, 2, 2]


SURROGATES = [
    {"id": "\ud800", "prompt": "fine"},
    {"custom_id": "\ud800", "url": "/v1/completions", "body": {"prompt": "fine"}},
    {"prompt": "half \ud800 a pair"},
    {"messages": [{"role": "user", "content": "\ud800"}]},
    {"prompt": "x", "stop": "\udfff"},
    {"prompt": "x", "regex": "\ud800"},
    {"prompt": "x", "choices": ["\ud800"]},
    {"prompt": "x", "grammar": 'root ::= "\ud800"'},
    {"prompt": "x", "json_schema": {"const": "\ud800"}},
    {"prompt": "x", "tools": [{"type": "function", "function": {"name": "f", "description": "\ud800"}}]},
]


def test_half_a_character_stops_nothing(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*SURROGATES, {"prompt": "last"}])
    output = tmp_path / "results.jsonl"
    result = run(tiny_model, "--input", str(path), "--output", str(output))
    assert result.status == 6, result.stderr
    found = lines(output.read_bytes())
    assert [row["row"] for row in found] == list(range(len(SURROGATES) + 1))
    assert (found[0]["id"], found[1]["custom_id"]) == ("\ud800", "\ud800")
    assert [number for number in (0, 1, 10) if found[number].get("error")] == []
    assert ["surrogate pair" in found[number]["error"]["message"] for number in (2, 3, 9)] == [True] * 3


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"custom_id": 5, "url": ["a"], "body": {"prompt": "x"}}, "unsupported endpoint ['a']"),
    ({"custom_id": 5, "url": {}, "body": {"prompt": "x"}}, "unsupported endpoint {}"),
    ({"custom_id": "kept", "url": "/v1/completions"}, "the row has no body"),
    ({"custom_id": "kept", "body": {"prompt": "x"}}, "unsupported endpoint None"),
    ({"custom_id": "kept"}, "neither a prompt nor messages"),
    ({"prompt": "x", "json_schema": '{"const": ' + "1" * 5000 + "}"}, "more than 4300 digits"),
    ({"prompt": "x", "seed": 10**400}, "seed is not a whole number"),
    ({"prompt": "x", "max_tokens": "1" * 5000}, "max_tokens is not a whole number"),
    ({"prompt": "x", "json_schema": {"type": "object", "patternProperties": {"(": {}}}}, ""),
    ({"prompt": "x", "json_schema": {"type": "string", "pattern": "(?P<"}}, ""),
    ({"prompt": "x", "tool_choice": {"function": []}, "tools": [{"type": "function", "function": {"name": "f"}}]}, ""),
    ({"prompt": "x", "response_format": {"type": []}}, "unknown type []"),
]


def test_a_hostile_row_stops_nothing_and_keeps_its_name(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*(row for row, _ in HOSTILE), {"prompt": "last"}])
    with path.open("a") as file:
        file.write('{"prompt": ' + "1" * 5000 + "}\n")
    result = run(tiny_model, "--input", str(path))
    found = lines(result.stdout)
    assert (result.status, len(found)) == (6, len(HOSTILE) + 2), result.stderr
    assert [row for row, (_, says) in zip(found, HOSTILE, strict=False) if says not in str(row.get("error"))] == []
    assert [row["custom_id"] for row in found[:5]] == [5, 5, "kept", "kept", "kept"]
    assert found[0]["error"]["code"] == found[0]["error"]["type"] == "Usage"
    assert found[-2]["text"]
    assert "an integer has more than 4300 digits" in found[-1]["error"]["message"]


def test_tables_as_programs_write_them(tiny_model: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_bytes(b",prompt,max_tokens\n0,hi,2\n1,a,b,c\n2,%s,1\n3,\xff,1\n" % (b"a" * 200_000))
    found = lines(run(tiny_model, "--input", str(table)).stdout)
    assert found[0]["usage"]["completion_tokens"] == 2
    messages = [row["error"]["message"] for row in found[1:]]
    assert "3 fields of the header" in messages[0]
    assert "token" in messages[1]  # the field is read, and too long for the context alone
    assert "not UTF-8" in messages[2]
    tabs = tmp_path / "rows.tsv"
    tabs.write_text("prompt\tid\na, b\t7\n")
    assert lines(run(tiny_model, "--input", str(tabs)).stdout)[0]["id"] == "7"


def test_a_field_that_no_table_has_is_the_rows_problem(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llamacli.batch.reader.MAX_LINE_BYTES", 1000)
    table = tmp_path / "rows.csv"
    lines_of_one_field = "a line\n" * 200
    table.write_text(f'prompt\nfirst\n"{lines_of_one_field}"\nlast\n')
    found = lines(run(tiny_model, "--input", str(table)).stdout)
    assert "text" in found[0]
    assert "cannot be read" in found[1]["error"]["message"]
    assert "text" in found[-1]


@pytest.mark.parametrize("content", ["my precious data", '{"a": 1}', '{"row": "x"}', '{"rows": [1]}', "5", '{"row": 1}\nnotes'])
def test_a_last_line_without_end_is_cut_only_if_it_is_ours(tiny_model: Path, tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a"}])
    output = tmp_path / "results.jsonl"
    output.write_text(content)
    result = run(tiny_model, "--input", str(path), "--output", str(output), "--resume")
    assert (result.status, "is not a file of results" in result.stderr) == (2, True)
    assert output.read_text() == content


@pytest.mark.parametrize("torn", ["", "{", '{"row', '{"row": 1', '{"row": 1, "te', '{"id": "batch_req_1", "ro'])
def test_a_torn_result_is_cut(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"row": 0}\n' + torn)
    results = ResultFile(path, lambda data: None, resume=True)
    results.write({"row": 1})
    results.close()
    assert path.read_text() == '{"row": 0}\n{"row": 1}\n'


def test_a_whole_result_that_lacks_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"row": 0}\n{"row": 1, "text": "kept"}')
    results = ResultFile(path, lambda data: None, resume=True)
    assert results.kept == 2
    results.write({"row": 2})
    results.close()
    assert path.read_text() == '{"row": 0}\n{"row": 1, "text": "kept"}\n{"row": 2}\n'


def test_one_output_has_one_writer(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a"}])
    output = tmp_path / "results.jsonl"
    results = ResultFile(output, lambda data: None)
    result = run(tiny_model, "--input", str(path), "--output", str(output), "--resume")
    assert (result.status, output.read_bytes()) == (1, b"")
    assert f"cannot write {output}: another process is writing it" in result.stderr
    results.close()
    assert run(tiny_model, "--input", str(path), "--output", str(output), "--resume").status == 0


def test_nothing_follows_a_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.jsonl"
    results = ResultFile(path, lambda data: None)
    file = results._file
    assert file is not None

    class Full:
        def write(self, data: memoryview) -> int:
            file.write(data[:5])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "_file", Full())
    with pytest.raises(Exception, match="No space left"):
        results.write({"row": 0})
    monkeypatch.setattr(results, "_file", file)
    results.write({"row": 1})
    results.close()
    assert path.read_text() == '{"row'


def test_failures_of_an_earlier_run_still_count(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"bad": 1}, {"prompt": "a"}])
    output = tmp_path / "results.jsonl"
    assert run(tiny_model, "--input", str(path), "--output", str(output)).status == 6
    again = run(tiny_model, "--input", str(path), "--output", str(output), "--resume")
    assert again.status == 6
    assert "2 rows are done already, 1 of them failed" in again.stderr
    assert "1 of 2 rows failed" in again.stderr
    kept = [line for line in output.read_text().splitlines() if "error" not in line]
    output.write_text("".join(f"{line}\n" for line in kept))
    write(path, [{"prompt": "mended"}, {"prompt": "a"}])
    last = run(tiny_model, "--input", str(path), "--output", str(output), "--resume")
    assert (last.status, "1 row is done already\n" in last.stderr) == (0, True)
    assert [row["row"] for row in lines(output.read_bytes())] == [0, 1]


def test_what_was_cut_keeps_its_text(tiny_model: Path, tmp_path: Path) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 40}
    body = {"prompt": "b", "max_tokens": 4, "json_schema": schema}
    path = write(
        tmp_path / "rows.jsonl",
        [
            {"id": "a", "prompt": "a", "max_tokens": 4, "json_schema": schema},
            {"custom_id": "b", "url": "/v1/completions", "body": body},
        ],
    )
    ours, batch = lines(run(tiny_model, "--input", str(path)).stdout)
    assert ours["error"]["type"] == batch["error"]["code"] == "Constraint"
    assert (ours["id"], ours["text"][:1], ours["finish_reason"], ours["usage"]["completion_tokens"]) == ("a", "[", "length", 4)
    assert batch["response"]["body"]["choices"][0]["text"].startswith("[")


@pytest.mark.parametrize("output", ["missing/x", "."])
def test_an_output_that_cannot_be_opened(tiny_model: Path, tmp_path: Path, output: str) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a"}])
    result = run(tiny_model, "--input", str(path), "--output", str(tmp_path / output))
    assert result.status == 2
    assert result.stderr.splitlines()[-1].startswith(f"llamacli: error: cannot write {tmp_path / output}: ")
    assert "--debug" not in result.stderr


def test_formats_that_are_given(tiny_model: Path, tmp_path: Path) -> None:
    prompts = b"\xef\xbb\xbffirst\nsecond\n"
    wrong = run(tiny_model, "--input", "-", stdin=prompts)
    assert wrong.status == 6
    assert wrong.stderr.count("warning: the first row is not JSON: --input-format lines") == 1
    right = run(tiny_model, "--input", "-", "--input-format", "lines", stdin=prompts)
    assert (right.status, "warning" in right.stderr) == (0, False)
    path = write(tmp_path / "rows.jsonl", [{"prompt": "first"}, {"prompt": "second"}])
    assert answers(right) == answers(run(tiny_model, "--input", str(path)))
    (tmp_path / "rows.txt").write_bytes(prompts)
    assert answers(run(tiny_model, "--input", str(tmp_path / "rows.txt"))) == answers(right)
    table = run(tiny_model, "--input", "-", "--input-format", "csv", stdin=b"prompt\nfirst\nsecond\n")
    assert answers(table) == answers(right)
    told = run(tiny_model, "--input", str(path), "--input-format", "jsonl", stdin=b"")
    assert "warning" not in told.stderr
    assert run(tiny_model, "Hi", "--input-format", "lines").status == 2


def test_a_json_array_is_rows(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "first"}, "second", 5]
    path = write(tmp_path / "rows.jsonl", rows)
    expected = lines(run(tiny_model, "--input", str(path)).stdout)
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    for result in (run(tiny_model, "--input", str(tmp_path / "rows.json")),
                   run(tiny_model, "--input", "-", stdin=json.dumps(rows).encode())):  # fmt: skip
        found = lines(result.stdout)
        assert (result.status, [row.get("text") for row in found]) == (6, [row.get("text") for row in expected])
        assert (found[0]["id"], "neither a JSON object nor a string" in found[2]["error"]["message"]) == ("a", True)


def test_hidden_reasoning_is_in_no_result(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llamacli.engine.chat.answers.parser import ParsedAnswer
    from llamacli.engine.chat.answers.reader import AnswerReader

    monkeypatch.setattr(AnswerReader, "finish", lambda self, *, complete: (ParsedAnswer("text", "thoughts"), ()))
    chat = {"messages": [{"role": "user", "content": "Hi"}]}
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a"}, {"custom_id": "b", "url": "/v1/chat/completions", "body": chat}])
    shown = run(tiny_model, "--input", str(path), open_engine=open_in_process).stdout
    assert shown.count("thoughts") == 2
    hidden = run(tiny_model, "--input", str(path), "--hide-reasoning", open_engine=open_in_process).stdout
    assert (hidden.count("thoughts"), "reasoning_content" in hidden, len(lines(hidden))) == (0, False, 2)


def test_a_rows_own_system_message_comes_before_that_of_all(tiny_model: Path, tmp_path: Path) -> None:
    hello = {"role": "user", "content": "Hello"}
    path = write(tmp_path / "rows.jsonl", [{"messages": [{"role": "system", "content": "Own."}, hello]}, {"messages": [hello]}])
    alone = answers(run(tiny_model, "--input", str(path)))
    both = run(tiny_model, "--input", str(path), "-sys", "For all, and much longer than the other.")
    usages = [row["usage"]["prompt_tokens"] for row in lines(both.stdout)]
    assert answers(both)[0] == alone[0]
    assert usages[1] > usages[0]


def test_one_of_something_is_told_as_one(tiny_model: Path) -> None:
    told = invoke("run", "-m", str(tiny_model), "-t", "1", "-c", "256", "-n", "1", "--input", "-", "--raw",
                  open_engine=context.open_engine, stdin=json.dumps({"prompt": "a"}).encode() + b"\n")  # fmt: skip
    assert "1 row, 0 failed · 1 token in" in told.stderr
