"""`llamacli bench`: llama-bench's formats, the table, exit statuses, Ctrl-C, the history."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import Result, invoke
from in_process import open_bench_in_process

from llamacli.bench.measure.rows import EXTRA_COLUMNS, LLAMA_BENCH_COLUMNS
from llamacli.cli.framework.console import Terminals
from llamacli.store.benchmarks.history import History

DATA = Path(__file__).parents[2] / "data"
THEIRS = json.loads((DATA / "llama_bench.json").read_text())
QUICK = ("-t", "1", "-r", "2", "--no-warmup")
ON_TERMINAL = Terminals(stdin=True, stdout=True)

VARYING = (
    "build_commit",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_filename",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ns",
    "samples_ts",
)


def bench(model: Path, *arguments: str, **how) -> Result:
    return invoke("bench", "-m", str(model), *QUICK, *arguments, open_bench=open_bench_in_process, **how)


def plain(result: Result) -> str:
    """Standard output without its colours."""
    return re.sub(r"\x1b\[\d+m", "", result.stdout)


def documents(result: Result) -> list[dict]:
    return json.loads(result.stdout)


# --- llama-bench's formats -----------------------------------------------------------------------------------------------


def test_json_has_the_columns_of_llama_bench_first(tiny_model):
    rows = documents(bench(tiny_model, "-p", "16", "-n", "4", "-o", "json"))
    assert len(rows) == len(THEIRS) == 2
    for ours, theirs in zip(rows, THEIRS, strict=True):
        assert list(ours)[: len(theirs)] == list(theirs)
        assert list(ours)[len(theirs) :] == list(EXTRA_COLUMNS)
        for name, value in theirs.items():
            assert type(ours[name]) is type(value), name
            assert name in VARYING or ours[name] == value, name


def test_json_is_a_separate_option(tiny_model):
    assert len(documents(bench(tiny_model, "-p", "16", "-n", "4", "--json"))) == 2


def test_json_lines_have_the_same_rows(tiny_model):
    result = bench(tiny_model, "-p", "16", "-n", "4", "-o", "jsonl")
    assert [json.loads(line)["test"] for line in result.stdout.splitlines()] == ["pp16", "tg4"]


def test_csv_has_the_columns_of_llama_bench_first(tiny_model):
    names, *rows = csv.reader(io.StringIO(bench(tiny_model, "-p", "16", "-n", "4", "-o", "csv").stdout))
    assert names == [*LLAMA_BENCH_COLUMNS, *EXTRA_COLUMNS]
    row = dict(zip(names, rows[0], strict=True))
    assert (row["repack"], row["no_kv_offload"], row["flash_attn"], row["devices"]) == ("1", "0", "-1", "auto")
    assert (row["ttft_ms"], row["error"]) == ("", "")
    assert len(row["avg_ts"].partition(".")[2]) == 6


def test_each_kernels_are_a_test_of_their_own(tiny_model):
    rows = documents(bench(tiny_model, "-p", "16", "-n", "0", "--kernels", "own,upstream", "-o", "json"))
    assert [row["kernels"] for row in rows] == ["own", "upstream"]
    table = bench(tiny_model, "-p", "16", "-n", "0", "--kernels", "upstream", "-o", "md").stdout
    assert "kernels" in table
    assert "upstream" in table
    result = bench(tiny_model, "-p", "16", "--kernels", "ours")
    assert result.status == 2
    assert "own" in result.stderr


def test_sql_makes_a_table_of_the_same_name(tiny_model):
    database = sqlite3.connect(":memory:")
    database.executescript(bench(tiny_model, "-p", "16", "-n", "4", "-ctk", "f16,q8_0", "-o", "sql").stdout)
    found = database.execute("select test, type_k, avg_ts > 0, error is null, repack from llama_bench").fetchall()
    database.close()
    assert found[:2] == [("pp16", "f16", 1, 1, 1), ("tg4", "f16", 1, 1, 1)]
    assert found[2:] == [("pp16", "q8_0", 0, 0, 1), ("tg4", "q8_0", 0, 0, 1)]


def test_markdown_looks_like_that_of_llama_bench(tiny_model):
    ours = bench(tiny_model, "-p", "16", "-n", "4", "-b", "32").stdout.splitlines()
    theirs = (DATA / "llama_bench.md").read_text().splitlines()
    assert ours[:2] == theirs[:2]
    assert ours[-1].partition(" ")[0] == theirs[-1].partition(" ")[0] == "build:"
    for our, their in zip(ours[2:4], theirs[2:4], strict=True):
        assert our.split("|")[:-2] == their.split("|")[:-2]
        assert len(our.split("|")[-2]) == len(their.split("|")[-2])


def test_markdown_shows_latency_and_failures(tiny_model):
    result = bench(tiny_model, "-p", "16", "-n", "4", "--latency", "-ctk", "f16,q8_0")
    header, _, good, bad = result.stdout.splitlines()[:4]
    assert header.endswith(
        "| test |                  t/s |  ttft ms |   p50 ms |   p90 ms |   p99 ms |   max ms |".replace("| test", "test")
    )
    assert "pp16+tg4 latency" in good
    assert "| failed: " in bad
    assert {line.count("|") for line in (header, good, bad)} == {14}


def test_rows_also_go_to_standard_error(tiny_model):
    result = bench(tiny_model, "-p", "16", "-n", "0", "-o", "none", "-oe", "csv")
    assert result.stdout == ""
    assert '"pp16"' in result.stderr


# --- the table -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_table_is_no_wider_than_the_terminal(tiny_model, width):
    result = bench(
        tiny_model, "-p", "16", "-n", "4", "-ctk", "f16,q8_0", "-ub", "16,512", "-d", "0,8", terminals=ON_TERMINAL, width=width
    )
    lines = plain(result).splitlines()
    assert result.status == 6
    assert max(map(len, lines)) <= width
    assert sum("failed: " in line for line in lines) == 8
    assert [line.split()[0] for line in lines if line.startswith("tiny.gguf")] == ["tiny.gguf:"]


def test_a_wide_table_has_columns_for_varying_settings(tiny_model):
    result = bench(tiny_model, "-p", "16", "-n", "0", "-ub", "16,512", "-fa", "on,off", terminals=ON_TERMINAL, width=200)
    lines = plain(result).splitlines()
    header = next(line for line in lines if "tokens/s" in line)
    assert header.split()[:3] == ["n_ubatch", "fa", "test"]
    assert header.split()[-2:] == ["memory", "load"]
    assert [line.split()[:3] for line in lines[-4:]] == [
        ["16", "on", "pp16"], ["16", "off", "pp16"], ["512", "on", "pp16"], ["512", "off", "pp16"]
    ]  # fmt: skip
    assert "\x1b[1m" in result.stdout
    assert "\x1b" not in invoke("bench", "-m", str(tiny_model), "-o", "table", "-p", "8", "-n", "0", *QUICK).stdout


def test_a_narrow_table_shows_varying_settings_on_lines(tiny_model):
    result = bench(tiny_model, "-p", "16", "-n", "4", "-ub", "16,512", "-fa", "on,off", "-o", "table", width=50)
    lines = result.stdout.splitlines()
    assert lines.count("n_ubatch 16  fa on") == 1
    start = lines.index("n_ubatch 16  fa on")
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["pp16", "tg4"]


def test_latency_in_the_table(tiny_model):
    result = bench(tiny_model, "-p", "40", "-n", "4", "--latency", "--end-to-end", "-o", "table")
    header = next(line for line in result.stdout.splitlines() if "first token" in line)
    assert header.split() == ["test", "first", "token", "p50", "p90", "p99", "max"]
    assert "pp40+tg4 end to end" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_control_characters_in_model_names_are_escaped(tiny_model, tmp_path):
    evil = tmp_path / "evil\x1b[31m.gguf"
    evil.symlink_to(tiny_model)
    result = bench(evil, "-p", "8", "-n", "0", "-o", "table")
    assert "\x1b[31m" not in result.stdout
    assert "evil\\x1b[31m" in result.stdout


# --- the end of a run ----------------------------------------------------------------------------------------------------


def test_json_has_the_time_of_each_token(tiny_model):
    (row,) = documents(bench(tiny_model, "-p", "16", "-n", "4", "--latency", "-o", "json"))
    assert [len(steps) for steps in row["steps_ns"]] == [4, 4]
    assert len(row["prompt_ns"]) == 2
    assert row["ttft_ms"] > 0
    assert row["itl_p50_ms"] <= row["itl_p90_ms"] <= row["itl_p99_ms"] <= row["itl_max_ms"]


def bench_image(seeing, *arguments: str, **how) -> Result:
    found = seeing("qwen2vl")
    how = {"find_projector": lambda *_, **__: found.projector, **how}
    return bench(found.model, "-p", "40", "-n", "3", "--image", "64x64,128x64", *arguments, **how)


def test_pictures_are_rows_of_their_own(seeing):
    small, large = documents(bench_image(seeing, "-o", "json"))
    assert [row["test"] for row in (small, large)] == ["64x64+pp40+tg3", "128x64+pp40+tg3"]
    assert (small["image"], small["mmproj"], small["error"]) == ("64x64", seeing("qwen2vl").projector.name, None)
    assert (small["image_tokens"], large["image_tokens"]) == (18, 34)  # a token for 16 x 16 pixels, and two marks
    for row in (small, large):
        assert 0 < row["encode_ms"] < row["ttft_ms"]
        assert row["encode_ms"] == pytest.approx(sum(row["encode_ns"]) / 2e6, rel=1e-3)
        assert row["samples_ts"][0] == pytest.approx(43e9 / row["samples_ns"][0], rel=1e-4)  # those of the text
    header, _, first = bench_image(seeing).stdout.splitlines()[:3]
    assert "| image tokens | encode ms |  ttft ms |" in header
    assert header.count("|") == first.count("|")


@pytest.mark.parametrize(
    ("width", "shown"), [(40, ["encode", "first token"]), (200, ["image tokens", "encode", "first token", "p50", "tokens/s"])]
)
def test_pictures_in_the_table(seeing, width, shown):
    lines = plain(bench_image(seeing, terminals=ON_TERMINAL, width=width)).splitlines()
    header = next(line for line in lines if "first token" in line)
    assert all(name in header for name in shown)
    assert max(map(len, lines)) <= width


def test_pictures_are_compared_and_exported(seeing):
    for _ in range(2):
        assert bench_image(seeing).status == 0
    compared = invoke("bench", "compare", "last~1", "last", "--json")
    assert [test["test"] for test in json.loads(compared.stdout)["tests"]] == ["64x64+pp40+tg3", "128x64+pp40+tg3"]
    assert invoke("bench", "compare", "last:1", "last:2").status == 2  # other pictures are other tests
    names, first, *_ = csv.reader(io.StringIO(invoke("bench", "export", "last", "-o", "csv").stdout))
    assert dict(zip(names, first, strict=True))["image_tokens"] == "18"
    command = json.loads(invoke("bench", "show", "last", "--json").stdout)["command"]
    assert "--image 64x64,128x64" in command


def test_parallel_counts_the_tokens_of_all(tiny_model):
    rows = documents(bench(tiny_model, "-p", "16", "-n", "0", "--parallel", "1-4*2", "-o", "json"))
    assert [(row["test"], row["n_parallel"]) for row in rows] == [("pp16", 1), ("pp16 x2", 2), ("pp16 x4", 4)]
    for row in rows:
        assert row["samples_ts"][0] == pytest.approx(16e9 * row["n_parallel"] / row["samples_ns"][0], rel=1e-4)


def test_some_failures_are_status_6_and_rows(tiny_model):
    result = bench(tiny_model, "-p", "16,2000000000", "-n", "0", "-o", "json")
    assert result.status == 6
    assert result.stderr.splitlines()[-1] == "llamacli: error: 1 of 2 tests failed"
    good, bad = documents(result)
    assert (good["error"], bad["avg_ts"], bad["repetitions"]) == (None, 0, 0)
    assert "does not fit" in bad["error"] or "GiB" in bad["error"]


def test_only_failures_have_the_status_of_the_first(tiny_model, tmp_path):
    result = bench(tiny_model, "-p", "2000000000", "-n", "0", "-o", "json")
    assert result.status == 4
    assert len(documents(result)) == 1
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    assert bench(broken, "-p", "8").status == 3


@pytest.mark.parametrize(
    "arguments",
    [("-p", "x"), ("-p", "0", "-n", "0"), ("-r", "0"), ("-o", "xml"), ("-fa", "2"), ("extra",), ("--until-stable", "0")],
)
def test_usage_errors(tiny_model, arguments):
    result = bench(tiny_model, *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-ub", "0"), "-ub must be from 1 to 2147483647"),
        (("-b", "0"), "-b must be from 1 to 2147483647"),
        (("-t", "0"), "-t must be from 1 to 512"),
        (("-ngl", "2147483648"), "-ngl must be from -1 to 2147483647"),
        (("--parallel", "300"), "--parallel must be from 1 to 256"),
        (("-d", "-1"), "-d must be from 0 to 2147483647"),
        (("-r", "0"), "-r must be from 1 to 100000"),
        (("--until-stable", "0"), "--until-stable must be a percentage above 0"),
        (("--image", "0x5"), "an --image of 0x5 pixels has no pixels"),
        (("--image", "512"), "invalid --image size '512': use a width and a height in pixels, such as 512x384"),
        (("--image", "64x64,"), "invalid --image size ''"),
        (("--image", "9999999999x1"), "invalid --image size '9999999999x1'"),
        (("--image", "99999x99999"), "an --image of 99999x99999 pixels has more than 100 megapixels"),
        (("--image", "1000x1"), "one side is more than 200 times the other"),
        (("--image", "8x8", "-d", "4"), "--image cannot be used with -d or --parallel"),
        (("--image", "8x8", "--poll", "4"), "--image cannot be used with -C, --cpu-strict, --poll or -embd"),
        (("--image", "8x8"), "tiny.gguf takes no images (--mmproj names its projector)"),
        (("--mmproj", "x.gguf"), "--mmproj needs --image"),
        (("--url", "http://localhost:9", "--image", "8x8"), "--image cannot be used with --url"),
        (("--url", "http://localhost:9", "--mmproj", "x.gguf"), "--mmproj cannot be used with --url"),
    ],
)
def test_values_out_of_range_name_their_options(tiny_model, arguments, message):
    result = invoke("bench", "-m", str(tiny_model), "-p", "8", *arguments)
    assert (result.status, message in result.stderr) == (2, True), result.stderr


def test_progress_in_lines(tiny_model):
    lines = bench(tiny_model, "-p", "8", "-n", "0", "--progress").stderr.splitlines()
    assert [line for line in lines if "test 1/1" in line] == [
        "llamacli: test 1/1, pp8: load",
        "llamacli: test 1/1, pp8: repetition 1/2",
        "llamacli: test 1/1, pp8: repetition 2/2",
    ]


def test_progress_names_the_settings_that_vary(tiny_model):
    result = bench(tiny_model, "-p", "8", "-n", "0", "-ub", "16,512", "-fa", "on", "--progress", "-r", "1")
    assert [line for line in result.stderr.splitlines() if "repetition" in line] == [
        "llamacli: test 1/2, pp8, n_ubatch 16: repetition 1/1",
        "llamacli: test 2/2, pp8, n_ubatch 512: repetition 1/1",
    ]


def test_runs_are_stored_by_default(tiny_model):
    result = bench(tiny_model, "-p", "8", "-n", "0")
    assert "llamacli: stored as run 1" in result.stderr.splitlines()
    assert "stored" not in bench(tiny_model, "-p", "8", "-n", "0", "--no-save").stderr
    assert "stored" not in bench(tiny_model, "-p", "2000000000", "-n", "0").stderr
    history = History()
    (listed,) = history.runs()
    stored = history.run(listed.id)
    history.close()
    assert [row["test"] for row in stored.rows] == ["pp8"]
    assert not stored.interrupted
    options = "--n-prompt 8 --n-gen 0 --threads 1 --repetitions 2 --no-warmup"
    assert stored.command == f"llamacli bench --model {tiny_model} {options}"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_results_so_far(tiny_model, number, status):
    command = [sys.executable, "-m", "llamacli", "bench", "-m", str(tiny_model), "-t", "1", "-p", "8,16", "-n", "0"]
    process = subprocess.Popen(
        [*command, "-r", "100000", "--delay", "0.02", "--progress", "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said = b""
    while b"pp16: repetition 3/" not in said:
        said += os.read(process.stderr.fileno(), 65536)
    process.send_signal(number)
    sent = time.monotonic()
    out, rest = process.communicate(timeout=60)
    assert time.monotonic() - sent < 10
    assert process.returncode == status
    rows = json.loads(out)
    assert [row["test"] for row in rows] == ["pp8", "pp16"]
    assert all(row["repetitions"] >= 2 and "interrupted after" in row["warnings"] for row in rows)
    assert b"stored as run 1" in rest
    (listed,) = json.loads(invoke("bench", "history", "--json").stdout)["data"]
    assert listed["interrupted"] is True
    assert "(interrupted)" in invoke("bench", "history").stdout
