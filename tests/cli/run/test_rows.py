"""`llamacli run --input`: rows in, rows out; order, failures, interruption and resuming."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fakes import invoke
from row_runs import answers, lines, run, write

from llamacli.batch.formats import format_of
from llamacli.batch.reader import Row, read_rows
from llamacli.batch.results import ResultFile
from llamacli.cli.framework import context
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.index.options import IndexOptions
from llamacli.cli.framework.inputs.documents import Access
from llamacli.cli.framework.options import ChatOptions, GenerationOptions, SamplingOptions, TemplateOptions
from llamacli.cli.framework.options.tools import ToolCallOptions
from llamacli.cli.run.options import Asked, ConstraintOptions, MediaOptions, PromptOptions, ReasoningOptions, ToolOptions
from llamacli.cli.run.prompt import read_base
from llamacli.engine.generation.job_window import Tuner
from llamacli.engine.params import GenerationParams
from llamacli.errors import UsageError
from llamacli.openai.batch_request import RowDefaults, fill

ROOT = Path(__file__).parents[3]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    texts = [f"row {i} " + "word " * (7 * i % 23) for i in range(24)]
    return write(tmp_path / "rows.jsonl", [{"id": f"r{i}", "prompt": text} for i, text in enumerate(texts)])


def test_results_are_those_of_each_row_alone_whatever_the_batching(tiny_model: Path, rows: Path) -> None:
    alone = run(tiny_model, "--input", str(rows), "--parallel", "1")
    assert alone.status == 0
    assert [row["id"] for row in lines(alone.stdout)] == [f"r{i}" for i in range(24)]
    for parallel in ("3", "8", "auto"):
        assert answers(run(tiny_model, "--input", str(rows), "--parallel", parallel)) == answers(alone)
    unordered = run(tiny_model, "--input", str(rows), "--parallel", "5", "--unordered")
    assert {row["row"]: row["text"] for row in lines(unordered.stdout)} == dict(enumerate(answers(alone)))


def test_a_row_is_what_run_answers(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "Hello there", "system": "Be brief."}])
    alone = run(tiny_model, "-sys", "Be brief.", "Hello there").stdout
    assert answers(run(tiny_model, "--input", str(path)))[0] == alone.removesuffix("\n")


def test_sampled_rows_are_reproducible_by_their_seed(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"id": i, "prompt": f"row {i}", "seed": i, "temperature": 1.5} for i in range(10)]
    shuffled = random.Random(3).sample(rows, len(rows))
    texts = []
    for order, parallel in ((rows, "4"), (shuffled, "7")):
        path = write(tmp_path / "rows.jsonl", order)
        result = run(tiny_model, "--input", str(path), "--parallel", parallel)
        texts.append({row["id"]: row["text"] for row in lines(result.stdout)})
    assert texts[0] == texts[1]
    assert len(set(texts[0].values())) > 5


def test_bad_rows_are_error_rows_and_the_rest_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"prompt": "fine"}\nno json\n[1]\n{"id": 3}\n\n{"prompt": ""}\n{"prompt": 5}\n{"prompt": "x", "temperature": "hot"}\n'
        b'{"prompt": "x", "max_tokens": -1}\n{"prompt": "x", "grammar": "root ::= ("}\n"a text alone"\n\xff\xfe\n'
        b'{"messages": [{"role": "user"}]}\n{"prompt": "' + b"word " * 400 + b'"}\n{"prompt": "x", "seed": 99999999999}\n'
    )
    result = run(tiny_model, "--input", str(path))
    found = lines(result.stdout)
    assert result.status == 6
    assert [row["row"] for row in found] == [0, 1, 2, 3, *range(5, len(found) + 1)]  # line 5 is blank
    good = [row["row"] for row in found if "error" not in row]
    assert good == [0, 10]
    messages = [row["error"]["message"] for row in found if "error" in row]
    assert all(message and "\n" not in message for message in messages)
    assert "256" in messages[-2]
    assert f"{len(messages)} of {len(found)} rows failed" in result.stderr


def test_fail_fast(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "one"}, {"id": "bad"}, {"prompt": "three"}])
    result = run(tiny_model, "--input", str(path), "--fail-fast", "--parallel", "1")
    assert result.status == 6
    assert "row 1 failed" in result.stderr


def test_openai_batch_files(tiny_model: Path, tmp_path: Path) -> None:
    def batch(custom_id: str, url: str, body: object) -> dict[str, object]:
        return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}

    chat = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 3}
    path = write(
        tmp_path / "batch.jsonl",
        [
            batch("a", "/v1/chat/completions", chat),
            batch("b", "/v1/completions", {"prompt": "Once", "max_tokens": 2}),
            batch("c", "/v1/embeddings", {"input": "x"}),
            batch("d", "/v1/chat/completions", "no object"),
        ],
    )
    found = lines(run(tiny_model, "--input", str(path)).stdout)
    assert [row["custom_id"] for row in found] == ["a", "b", "c", "d"]
    assert found[0]["response"]["body"]["object"] == "chat.completion"
    assert found[0]["response"]["body"]["usage"]["completion_tokens"] == 3
    assert found[1]["response"]["body"]["choices"][0]["text"]
    assert found[2]["response"] is None
    assert "unsupported endpoint" in found[2]["error"]["message"]


def test_csv_text_and_templates(tiny_model: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["id", "name", "text"], ["1", "Ann", 'says "hi",\nthen goes'], ["2", "Bob", "é"], ["3", "Eve"]]
        )
    result = run(tiny_model, "--input", str(table), "--template", "{name}: {text} {{}}")
    found = lines(result.stdout)
    assert [row.get("id") for row in found] == ["1", "2", None]
    assert "fields of the header" in found[2]["error"]["message"]
    plain = tmp_path / "rows.txt"
    plain.write_text("first prompt\n\nsecond prompt\n")
    assert len(answers(run(tiny_model, "--input", str(plain)))) == 2
    missing = write(tmp_path / "rows.jsonl", [{"text": "x"}])
    found = lines(run(tiny_model, "--input", str(missing), "--template", "{nothing}").stdout)
    assert "no field 'nothing', which the template uses; its fields are text" in found[0]["error"]["message"]


def test_filling_templates() -> None:
    assert fill("{a} {{b}} {c}", {"a": "x", "c": [1]}) == "x {b} [1]"
    with pytest.raises(UsageError):
        fill("{a.__class__}", {"a": "x"})


def test_standard_input_and_output(tiny_model: Path) -> None:
    result = run(tiny_model, "--input", "-", stdin=b'{"prompt": "a"}\n{"prompt": "b"}\n')
    assert len(answers(result)) == 2
    assert "2 rows, 0 failed" in result.stderr


def test_constraints_and_retries(tiny_model: Path, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    path = write(
        tmp_path / "rows.jsonl",
        [
            {"prompt": "a", "json_schema": schema, "max_tokens": 60},
            {"prompt": "b", "grammar": 'root ::= "yes" | "no"'},
            {"prompt": "c", "json_schema": schema, "max_tokens": 1},
        ],
    )
    result = run(tiny_model, "--input", str(path), "--retry", "2")
    found = lines(result.stdout)
    assert set(json.loads(found[0]["text"])) == {"ok"}
    assert found[1]["text"] in ("yes", "no")
    assert found[2]["error"]["type"] == "Constraint"
    assert result.status == 6


BAD_FIELDS = [
    ({"json_schema": "{bad"}, "invalid JSON"),
    ({"json_schema": 5}, "invalid JSON schema"),
    ({"json_schema": {"type": "objct"}}, "invalid JSON schema"),
    ({"json_schema": {"$ref": "#/x"}}, "cannot resolve the reference"),
    ({"response_format": 5}, "response_format must be an object"),
    ({"response_format": {"type": "json_schema", "json_schema": [1]}}, "has no schema"),
    ({"response_format": {"type": "x"}}, "unknown type 'x'"),
    ({"grammar": "root ::= x"}, "the rule x is not defined"),
    ({"regex": "(a"}, "no closing parenthesis"),
    ({"choices": "a"}, "choices must be a list of strings"),
    ({"choices": [""]}, "choices must be a list of strings"),
    ({"choices": ["a"], "regex": "a"}, "regex cannot be used with choices"),
    ({"stop": 5}, "stop must be a string or a list of strings"),
    ({"stop": [1]}, "stop must be a string or a list of strings"),
    ({"max_tokens": -1}, "max_tokens must be at least 0"),
    ({"max_tokens": 1.5}, "max_tokens is not a whole number"),
    ({"seed": 1.5}, "seed is not a whole number"),
    ({"seed": True}, "seed is not a number"),
    ({"temperature": float("inf")}, "Infinity is not a JSON value"),
    ({"temperature": {}}, "temperature is not a number"),
    ({"logit_bias": [1]}, "logit_bias must be an object"),
    ({"logit_bias": {"x": 1}}, "a token of logit_bias is not a whole number"),
    ({"logit_bias": {"5": "x"}}, "the bias of 5 is not a number"),
    ({"logit_bias": {"999999": 1}}, "token 999999 is not in the vocabulary"),
    ({"logprobs": -1}, "logprobs must be from 0"),
    ({"n": 2}, "n must be 1"),
    ({"tools": 5}, "the tools must be a list"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "g"}, "unknown tool 'g' (the tools are f)"),
    ({"system": 1}, "system must be a string"),
]


def test_a_field_that_makes_no_sense_fails_its_row_alone(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*({"prompt": "a", **fields} for fields, _ in BAD_FIELDS), {"prompt": "a"}])
    result = run(tiny_model, "--input", str(path))
    assert result.status == 6
    found = lines(result.stdout)
    assert [row["error"]["message"] for row, (_, says) in zip(found, BAD_FIELDS, strict=False) if says not in str(row)] == []
    assert "text" in found[-1]


def test_options_of_rows(tiny_model: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        [
            {"prompt": "a", "regex": "[xy]{3}"},
            {"prompt": "a", "choices": ["left", "right"]},
            {"prompt": "a", "logprobs": 2, "max_tokens": 3},
            {"prompt": "a", "logit_bias": {"70": 100}, "max_tokens": 2},
            {"prompt": "a", "logit_bias": {"70": 100}, "max_tokens": 2, "temperature": 1, "seed": -1},
        ],
    )
    found = lines(run(tiny_model, "--input", str(path)).stdout)
    assert set(found[0]["text"]) <= {"x", "y"}
    assert found[1]["text"] in ("left", "right")
    assert [len(token["top_logprobs"]) for token in found[2]["logprobs"]["content"]] == [2, 2, 2]
    assert found[3]["text"] == found[4]["text"] != ""
    assert len(set(found[3]["text"])) == 1
    body = {"prompt": "a", "max_tokens": 2, "logprobs": 1}
    batch = write(tmp_path / "b.jsonl", [{"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": body}])
    answer = lines(run(tiny_model, "--input", str(batch)).stdout)[0]["response"]["body"]["choices"][0]
    assert answer["logprobs"]["text_offset"][0] == 0


def test_what_of_a_rows_schema_is_not_enforced_is_named_once_or_refused(tiny_model: Path, tmp_path: Path) -> None:
    schema = {"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 1}
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a", "json_schema": schema}, {"prompt": "b", "json_schema": schema}])
    result = run(tiny_model, "--input", str(path))
    assert (result.status, result.stderr.count("multipleOf is not enforced")) == (0, 1)
    assert "warning: row 0: #: multipleOf" in result.stderr
    strict = lines(run(tiny_model, "--input", str(path), "--strict").stdout)
    assert ["the schema cannot be enforced: multipleOf" in row["error"]["message"] for row in strict] == [True, True]


def test_tools_for_all_rows(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "fg"]
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    given = ToolOptions(tools=tmp_path / "tools.json")
    asked = Asked(
        template=TemplateOptions(),
        chat=ChatOptions(),
        source=PromptOptions(),
        access=Access(),
        media=MediaOptions(),
        tools=given,
        tool_calls=ToolCallOptions(),
        reasoning=ReasoningOptions(),
        constraint=ConstraintOptions(),
        generation=GenerationOptions(),
        sampling=SamplingOptions(),
        index=IndexOptions(),
    )
    question = read_base(Console.system(), None, asked, None)
    defaults = RowDefaults(question, GenerationParams())
    assert [tool.name for tool in defaults.request(Row(0, {"prompt": "a"})).question.tools] == ["f", "g"]
    chosen = defaults.request(Row(1, {"prompt": "a", "tool_choice": {"type": "function", "function": {"name": "g"}}})).question
    assert ([tool.name for tool in chosen.tools], chosen.tool_choice) == (["g"], "required")
    own = defaults.request(Row(2, {"prompt": "a", "tools": [{"type": "function", "function": {"name": "h"}}]})).question
    assert ([tool.name for tool in own.tools], own.tool_choice) == (["h"], "auto")


def test_a_prefix_that_rows_share_is_evaluated_once(tiny_model: Path, tmp_path: Path) -> None:
    document = "a document that all the questions are about, " * 4
    path = write(tmp_path / "rows.jsonl", [{"prompt": f"{document} question {i}"} for i in range(8)])
    found = lines(run(tiny_model, "--input", str(path), "--parallel", "4").stdout)
    evaluated = [row["timings"]["prompt_n"] for row in found]
    assert sum(evaluated[1:]) < evaluated[0]


def test_resuming(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    whole = run(tiny_model, "--input", str(rows), "--output", str(output))
    assert whole.status == 0
    expected = output.read_bytes()
    for cut in (0, 1, 77, len(expected) // 2, len(expected) - 1):
        output.write_bytes(expected[:cut])
        result = run(tiny_model, "--input", str(rows), "--output", str(output), "--resume")
        assert result.status == 0
        got = lines(output.read_bytes())
        assert [row["row"] for row in got] == list(range(24))
        assert [row["text"] for row in got] == [row["text"] for row in lines(expected)]
    refused = run(tiny_model, "--input", str(rows), "--output", str(output))
    assert refused.status == 2
    assert "--resume" in refused.stderr
    assert run(tiny_model, "--input", str(rows), "--output", str(output), "--resume").status == 0
    assert len(lines(output.read_bytes())) == 24


def test_resuming_results_without_order(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    done = [{"row": number, "text": "kept"} for number in (17, 3, 4, 0)]
    output.write_text("".join(json.dumps(row) + "\n" for row in done) + '{"row": 9, "te')
    result = run(tiny_model, "--input", str(rows), "--output", str(output), "--resume", "--unordered")
    assert "4 rows are done already" in result.stderr
    got = {row["row"]: row["text"] for row in lines(output.read_bytes())}
    assert sorted(got) == list(range(24))
    assert got[17] == "kept"
    assert len(lines(output.read_bytes())) == 24


def test_a_file_that_is_no_results_is_not_touched(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "notes.txt"
    output.write_text("precious notes\nin two lines\n")
    result = run(tiny_model, "--input", str(rows), "--output", str(output), "--resume")
    assert result.status == 2
    assert output.read_text() == "precious notes\nin two lines\n"


def start(model: Path, rows: Path, output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "llamacli", "run", "-m", str(model), "-t", "1", "-c", "512", "--temp", "0", "--ignore-eos"]
    command += ["-n", "300", "--parallel", "2", "--input", str(rows), "--output", str(output), "--resume"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopping_in_the_middle_loses_no_row_and_repeats_none(
    tiny_model: Path, rows: Path, tmp_path: Path, how: signal.Signals
) -> None:
    output = tmp_path / "results.jsonl"
    process = start(tiny_model, rows, output)
    deadline = time.monotonic() + 60
    while (not output.exists() or output.read_bytes().count(b"\n") < 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == (130 if how == signal.SIGINT else -how), stderr
    if how == signal.SIGINT:
        assert b"interrupted after " in stderr
        assert f"results are kept in {output}; --resume continues with the other rows".encode() in stderr
    stopped_at = output.read_bytes().count(b"\n")
    assert 3 <= stopped_at < 24
    again = start(tiny_model, rows, output)
    _, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    assert sorted(row["row"] for row in lines(output.read_bytes())) == list(range(24))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error(tiny_model: Path, rows: Path) -> None:
    result = run(tiny_model, "--input", str(rows), "--output", "/dev/full")
    assert result.status == 1
    assert result.stderr.splitlines()[-1] == "llamacli: error: cannot write /dev/full: No space left on device"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "x"], "needs --input"),
        (["--input", "missing.jsonl"], "missing.jsonl does not exist"),
        (["--input", "-", "--resume"], "--resume needs"),
        (["--input", "-", "--parallel", "0"], "neither auto nor a number"),
        (["--input", "-", "A prompt"], "cannot be used with --input"),
        (["--input", "-", "--retry", "-1"], "--retry"),
        (["--input", "-", "--json"], "--json cannot be used with --input"),
        (["--input", "-", "--save-state", "x"], "--save-state cannot be used with --input"),
    ],
)
def test_bad_usage(tiny_model: Path, arguments: list[str], said: str) -> None:
    result = run(tiny_model, *arguments, stdin=b"")
    assert result.status == 2
    assert said in result.stderr


def test_no_rows_at_all(tiny_model: Path) -> None:
    result = run(tiny_model, "--input", "-", stdin=b"\n\n")
    assert (result.status, result.stdout) == (0, "")


def test_formats_by_name() -> None:
    names = {"a.csv": "csv", "a.TXT": "lines", "a.tsv": "tsv", "a.jsonl": "jsonl", "-": "json", "a.json": "json"}
    assert {name: format_of(name) for name in names} == names


def test_rows_are_read_one_at_a_time() -> None:
    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = b'{"prompt": "x"}\n' * (len(buffer) // 16)
            buffer[: len(data)] = data
            self.given += len(data)
            return len(data)

    endless = Endless()
    source = read_rows(io.BufferedReader(endless), "jsonl")
    assert [next(source).number for _ in range(1000)] == list(range(1000))
    assert endless.given < 64 << 10


def test_the_result_file_remembers_a_million_rows_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("".join(f'{{"row": {number}}}\n' for number in range(0, 200_000, 2)))
    results = ResultFile(path, lambda data: None, resume=True)
    assert results.kept == 100_000
    assert (results.holds(198), results.holds(199), results.holds(10**9)) == (True, False, False)
    results.close()


class Steady:
    """A scheduler whose speed depends on its limit alone."""

    def __init__(self) -> None:
        self.limit = 16

    @property
    def active(self) -> int:
        return self.limit


@pytest.mark.parametrize(
    ("rates", "expected"), [({4: 100, 8: 150, 16: 155}, 8), ({4: 100, 8: 200, 16: 300}, 16), ({4: 100, 8: 90}, 4)]
)
def test_the_tuner_stops_where_more_rows_gain_nothing(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, int], expected: int
) -> None:
    from llamacli.engine.generation import job_window as module

    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    scheduler = Steady()
    tuner = Tuner(scheduler, 16)  # type: ignore[arg-type]
    while not tuner.done:
        now[0] += scheduler.limit / rates[scheduler.limit]
        tuner.step(scheduler.limit)
    assert scheduler.limit == expected


@pytest.mark.demo
def test_without_flash_attention_a_prompt_gets_the_text_of_its_row(demo_model: Path, tmp_path: Path) -> None:
    prompts = [f"Write one sentence about the number {i}." for i in range(1, 5)]
    path = write(tmp_path / "rows.jsonl", [{"prompt": prompt} for prompt in prompts])
    common = ("run", "-m", str(demo_model), "--temp", "0", "-n", "24", "-fa", "off")
    rows = answers(invoke(*common, "--input", str(path), open_engine=context.open_engine))
    alone = [invoke(*common, prompt, open_engine=context.open_engine).stdout.removesuffix("\n") for prompt in prompts]
    assert alone == rows
