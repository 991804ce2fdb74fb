"""`llamacli bench quality`: rows, table, references, errors, and what is stored."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import tiny_bert
from fakes import Result, invoke
from in_process import open_bench_in_process, open_in_process

from llamacli.cli.framework.console import Terminals
from llamacli.store.benchmarks.history import History

ON_TERMINAL = Terminals(stdin=True, stdout=True)
LLAMACLI = (sys.executable, "-P", "-m", "llamacli")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("The harbour was quiet when the first boats came home. " * 8)
    return path


def quality(model: Path, *arguments: str | Path, **how) -> Result:
    words = ("bench", "quality", "-m", str(model), "-t", "1", "-c", "32", *map(str, arguments))
    return invoke(*words, open_bench=open_bench_in_process, **how)


def rows(result: Result) -> list[dict]:
    assert result.status == 0, result.stderr
    return json.loads(result.stdout)


def test_a_row_has_the_perplexity_with_its_interval_and_the_hashes(tiny_model, text):
    (row,) = rows(quality(tiny_model, text, "--json"))
    assert (row["test"], row["workload"], row["n_prompt"]) == ("ppl32", "quality", 32)
    assert (row["repetitions"], len(row["samples_ns"]), row["low_ts"]) == (len(row["quality"]["losses"]), 1, None)  # one round
    assert row["perplexity_low"] < row["perplexity"] < row["perplexity_high"]
    assert row["kld"] is None
    assert len(row["tokens_sha256"]) == 64
    document = row["quality"]
    assert document["text"] == str(text)
    assert len(document["text_sha256"]) == 64
    assert len(document["losses"]) == row["repetitions"]
    assert document["judged"] == sum(document["counts"]) == 15 * row["repetitions"]


@pytest.mark.demo
def test_the_perplexity_is_that_of_llama_perplexity(demo_model):
    """The expected one is what llama-perplexity of the same tree prints for these two windows of the shipped text."""
    how = ("-m", str(demo_model), "--windows", "2", "--kernels", "upstream", "--json", "--no-save")
    (row,) = rows(invoke("bench", "quality", *how, open_bench=open_bench_in_process))
    assert row["perplexity"] == pytest.approx(29.8390, rel=1e-3)


def test_each_combination_has_a_row_with_the_same_windows(tiny_model, text, tmp_path):
    other = tiny.tiny_model(tmp_path / "other.gguf", seed=1)
    found = rows(quality(tiny_model, text, "-m", other, "--kernels", "own,upstream", "--windows", "3", "--json"))
    assert [(Path(row["model_filename"]).name, row["kernels"]) for row in found] == [
        ("tiny.gguf", "own"),
        ("tiny.gguf", "upstream"),
        ("other.gguf", "own"),
        ("other.gguf", "upstream"),
    ]
    assert {row["repetitions"] for row in found} == {3}
    assert len({row["tokens_sha256"] for row in found}) == 1


def test_adapters_are_judged_with_each_scale(tiny_model, text, tmp_path):
    draw = random.Random(5)
    metadata = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora", "adapter.lora.alpha": 64.0}
    halves = [tiny.Tensor(f"blk.0.attn_q.weight.lora_{half}", shape, tiny.floats(draw.gauss(0, 1) for _ in range(256)))
              for half, shape in (("a", (64, 4)), ("b", (4, 64)))]  # fmt: skip
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes(tiny.gguf_bytes(metadata, halves))
    found = rows(quality(tiny_model, text, "--lora", adapter, "--lora-scale", "0,0.5,1", "--json"))
    assert [row["loras"] for row in found] == ["", "adapter.gguf:0.5", "adapter.gguf:1"]
    assert len({row["perplexity"] for row in found}) == 3
    (plain,) = rows(quality(tiny_model, text, "--json"))
    assert plain["perplexity"] == found[0]["perplexity"]


def test_a_reference_adds_the_divergence(tiny_model, text, tmp_path):
    other = tiny.tiny_model(tmp_path / "other.gguf", seed=1)
    (row,) = rows(quality(tiny_model, text, "--reference", other, "--json"))
    assert row["kld_low"] < row["kld"] < row["kld_high"]
    assert row["same_top_low"] <= row["same_top"] <= row["same_top_high"]
    assert row["quality"]["reference"]["name"] == "other.gguf"
    assert sum(row["quality"]["reference"]["divergences"]) == pytest.approx(row["kld"] * row["quality"]["judged"], rel=1e-4)


def test_saved_logits_are_a_reference(tiny_model, text, tmp_path):
    saved, other = tmp_path / "base.kld", tiny.tiny_model(tmp_path / "other.gguf", seed=1)
    first = rows(quality(tiny_model, text, "--save-logits", saved, "--windows", "3", "--json"))
    again = quality(tiny_model, text, "--save-logits", saved)
    assert (again.status, "exists already" in again.stderr) == (2, True)
    (row,) = rows(invoke("bench", "quality", "-m", str(other), "-t", "1", "--reference", str(saved), "--json",
                         open_bench=open_bench_in_process))  # fmt: skip
    assert (row["n_prompt"], row["repetitions"]) == (32, 3)
    assert row["tokens_sha256"] == first[0]["tokens_sha256"]
    assert row["kld"] > 0
    assert list(tmp_path.glob(".*")) == []


def test_the_table_shows_intervals_and_what_was_judged(tiny_model, text, tmp_path):
    other = tiny.tiny_model(tmp_path / "other.gguf", seed=1)
    for width in (40, 200):
        result = quality(tiny_model, text, "--reference", other, terminals=ON_TERMINAL, width=width)
        assert result.status == 0
        shown = result.stdout
        assert "perplexity" in shown
        assert "KL divergence, mean" in shown
        assert "Judged:" in shown


def test_a_narrow_terminal_is_not_overrun(tiny_model, text, tmp_path):
    other = tiny.tiny_model(tmp_path / "other.gguf", seed=1)
    result = quality(tiny_model, text, "--reference", other, terminals=ON_TERMINAL, width=40)
    below = result.stdout[result.stdout.index("Judged:") :].replace(str(text), "text.txt")
    assert max(map(len, below.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines())) <= 40


def test_a_narrow_terminal_shows_the_interval_before_the_speed(tiny_model, text):
    shown = quality(tiny_model, text, terminals=ON_TERMINAL, width=40).stdout
    assert "95 % interval" in shown
    assert "tokens/s" not in shown


def test_a_run_is_stored_with_its_command(tiny_model, text):
    result = quality(tiny_model, text, "--windows", "2")
    assert "stored as run 1" in result.stderr
    history = History()
    stored = history.run(1)
    history.close()
    assert stored.command.startswith(f"llamacli bench quality {text} ")
    assert "--windows 2" in stored.command
    shown = invoke("bench", "show", "last", terminals=ON_TERMINAL)
    assert f"{stored.rows[0]['perplexity']:.3f}" in shown.stdout
    exported = invoke("bench", "export", "last", "-o", "csv")
    assert "perplexity" in exported.stdout.splitlines()[0]


def test_progress_shows_the_running_estimate(tiny_model, text):
    result = quality(tiny_model, text, "--windows", "2", "--progress")
    assert "window 1/2: perplexity" in result.stderr
    assert "window 2/2: perplexity" in result.stderr


def test_a_combination_that_fails_has_a_row_and_status_6(tiny_model, text):
    result = quality(tiny_model, text, "-ctk", "f16,q8_0", "--windows", "2", "--json")
    good, bad = json.loads(result.stdout)
    assert (result.status, good["error"], bad["repetitions"]) == (6, None, 0)
    assert "does not support these context parameters" in bad["error"]
    assert "1 of 2 combinations could not be judged" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stride", "32"), "stride must be from 1 to less than"),
        (("--windows", "0"), "must be at least 1"),
        (("--budget", "0"), "above 0"),
        (("--lora-scale", "0,1"), "--lora-scale needs --lora"),
        (("--save-logits", "x", "--budget", "1"), "cannot be used with --budget"),
        (("--save-logits", "x", "--kernels", "own,upstream"), "needs a single model"),
        (("-c", "2000"), "the text is too short"),
    ],
)
def test_mistakes_are_usage_errors(tiny_model, text, arguments, message):
    result = quality(tiny_model, text, *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr


def test_an_encoder_cannot_be_judged(text, tmp_path):
    result = quality(tiny_bert.tiny_bert(tmp_path / "bert.gguf"), text)
    assert (result.status, result.stdout) == (3, "")
    assert "does not continue text" in result.stderr


def test_another_vocabulary_than_the_references_is_named(tiny_model, text, tmp_path):
    wrong = tiny.tiny_model(tmp_path / "wrong.gguf", vocabulary=tiny.default_vocabulary(tiny.MERGES[:-1]))
    result = quality(tiny_model, text, "--reference", wrong)
    assert (result.status, result.stdout) == (2, "")
    assert "another vocabulary than the reference" in result.stderr


def test_an_empty_text_and_a_missing_one_are_refused(tiny_model, tmp_path):
    (tmp_path / "empty.txt").write_text(" \n")
    assert "the text is empty" in quality(tiny_model, tmp_path / "empty.txt").stderr
    assert quality(tiny_model, tmp_path / "none.txt").status == 2


def test_ctrl_c_keeps_the_windows_so_far(tiny_model, tmp_path):
    long = tmp_path / "long.txt"
    long.write_text("The harbour was quiet when the first boats came home. " * 20_000)
    command = (*LLAMACLI, "bench", "quality", "-m", tiny_model, "-t", "1", "-c", "64", "-b", "64", long, "--json", "--progress")
    running = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        for line in running.stderr:
            if "window 3/" in line:
                break
        os.kill(running.pid, signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, stderr
    (row,) = json.loads(stdout)
    assert 3 <= row["repetitions"] < 2000
    assert "stored as run" in stderr
    history = History()
    assert history.run(1).interrupted
    history.close()


def test_two_ctrl_cs_leave_no_part_of_the_logits(tiny_model, tmp_path):
    long = tmp_path / "long.txt"
    long.write_text("The harbour was quiet when the first boats came home. " * 20_000)
    command = (*LLAMACLI, "bench", "quality", "-m", tiny_model, "-t", "1", "-c", "64", "-b", "64", long, "--progress")
    command += ("--save-logits", tmp_path / "logits")
    running = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        for line in running.stderr:
            if "window 3/" in line:
                break
        assert len(list(tmp_path.glob(".logits.*"))) == 1
        os.kill(running.pid, signal.SIGINT)
        os.kill(running.pid, signal.SIGINT)
        running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130
    assert sorted(tmp_path.iterdir()) == [long]


# --- questions ----------------------------------------------------------------------------------------------------------


def write_lines(path: Path, *rows: dict) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def questions(model: Path, *arguments: str | Path, **how) -> Result:
    words = ("bench", "quality", "-m", str(model), "-t", "1", *map(str, arguments))
    return invoke(*words, open_bench=open_bench_in_process, open_engine=open_in_process, **how)


def test_multiple_choice_gives_shares_with_intervals(tiny_model, tmp_path):
    rows_of = [{"context": f"The boat {number} is", "choices": ["red", "in the harbour"], "answer": 0} for number in range(12)]
    file = write_lines(tmp_path / "tasks.jsonl", *rows_of)
    result = questions(tiny_model, "--tasks", file, "--questions", "10", "--json")
    (row,) = rows(result)
    assert (row["test"], row["repetitions"]) == ("tasks tasks.jsonl", 10)
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    assert row["accuracy"] == sum(row["quality"]["correct"]) / 10
    assert row["accuracy_norm"] is not None
    shown = questions(tiny_model, "--tasks", file, terminals=ON_TERMINAL, width=100).stdout
    assert "normalised" in shown
    assert "Answered: 12 questions" in shown
    assert "stored as run" in result.stderr


def test_expected_answers_pass_or_fail_a_gate(tiny_model, tmp_path):
    said = invoke("run", "-m", str(tiny_model), "--temp", "0", "-n", "4", "Hello", open_engine=open_in_process).stdout.strip()
    right = {"prompt": "Hello", "expected": said, "max_tokens": 4}
    file = write_lines(tmp_path / "prompts.jsonl", right, right, {"prompt": "Hello", "expected": "no\x1b[2J", "max_tokens": 4})
    result = questions(tiny_model, "--exact", file, "--json")
    (row,) = rows(result)
    assert row["quality"]["correct"] == [1, 1, 0]
    assert "prompt 3: expected" in result.stderr
    assert "\x1b[2J" not in result.stderr
    assert questions(tiny_model, "--exact", file, "--fail-below", "0.6").status == 0
    failed = questions(tiny_model, "--exact", file, "--fail-below", "0.9")
    assert (failed.status, "2 of 3 answers right, less than 90%" in failed.stderr) == (8, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tasks", "a", "--exact", "b"), "cannot be used together"),
        (("--tasks", "a", "--stride", "4"), "--stride cannot be used with --tasks"),
        (("--exact", "a", "-c", "4"), "-c cannot be used with --exact"),
        (("--tasks", "a", "text.txt"), "cannot be judged together"),
        (("--fail-below", "0.5"), "need --tasks or --exact"),
        (("--tasks", "a", "--fail-below", "2"), "at most 1"),
        (("--tasks", "none.jsonl"), "does not exist"),
    ],
)
def test_mistakes_with_questions_are_usage_errors(tiny_model, arguments, message):
    result = questions(tiny_model, *arguments)
    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr


# --- comparing and drawing ----------------------------------------------------------------------------------------------


def test_runs_are_compared_on_the_same_windows(tiny_model, text, tmp_path):
    other = tiny.tiny_model(tmp_path / "other.gguf", seed=1)
    quality(tiny_model, text)
    quality(other, text)
    quality(tiny_model, text, "-c", "16")
    quality(tiny_model, text, "--kernels", "upstream")
    (found,) = json.loads(invoke("bench", "compare", "1", "2", "--json").stdout)["quality"]
    assert found["figure"] == "perplexity"
    assert found["change"] == pytest.approx(found["second"] / found["first"] - 1, rel=1e-6)
    assert found["interval"][0] < found["change"] < found["interval"][1]
    assert found["verdict"] in ("better", "worse", "no difference shown")
    assert "ppl32, perplexity: " in invoke("bench", "compare", "1", "4").stdout
    same = json.loads(invoke("bench", "compare", "1", "1", "--json").stdout)["quality"][0]
    assert (same["change"], same["verdict"]) == (0, "no difference shown")
    assert invoke("bench", "compare", "1", "3").status == 2


def test_texts_that_differ_cannot_be_compared(tiny_model, text, tmp_path):
    quality(tiny_model, text)
    text.write_text(text.read_text() + "and more " * 20)
    quality(tiny_model, text)
    (found,) = json.loads(invoke("bench", "compare", "1", "2", "--json").stdout)["quality"]
    assert (found["verdict"], found["reason"]) == ("cannot be compared", "the texts differ")


def test_answers_are_compared_question_by_question(tiny_model, tmp_path):
    rows_of = [{"context": f"The boat {number} is", "choices": ["red", "in the harbour"], "answer": 0} for number in range(9)]
    file = write_lines(tmp_path / "tasks.jsonl", *rows_of)
    for kernels in ("own", "upstream"):
        questions(tiny_model, "--tasks", file, "--kernels", kernels)
    (found,) = json.loads(invoke("bench", "compare", "1", "2", "--json").stdout)["quality"]
    assert (found["figure"], found["p_value"], found["verdict"]) == ("accuracy", 1, "no difference shown")


def test_speed_is_drawn_against_quality(tiny_model, text, tmp_path):
    other = tiny.tiny_model(tmp_path / "other.gguf", seed=1)
    chart = tmp_path / "chart.svg"
    result = quality(tiny_model, text, "-m", other, "--kernels", "own,upstream", "--plot", chart)
    assert result.status == 0, result.stderr
    drawn = chart.read_text()
    assert "Pareto front" in drawn
    assert "perplexity (less is better)" in drawn
    listed = invoke("bench", "show", "last", "--plot", "-").stdout
    assert "* nothing is both faster and better" in listed
    assert any(line.startswith("*  ") for line in listed.splitlines())
