"""`llamacli run` with the real engine: the tiny generated model for most, the demo model for what only a real one shows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_eagle
from fakes import Result, invoke

from llamacli.cli.framework import context

ROOT = Path(__file__).parents[3]
LATE, SLACK = 0.2, 0.8
"""Seconds after a signal when the program must be gone; what a busy machine may add."""


def run(model: Path, *arguments: str, **how) -> Result:
    """Runs in this process, with the real engine."""
    return invoke("run", "-m", str(model), "-t", "1", *arguments, open_engine=context.open_engine, **how)


def test_an_answer(tiny_model):
    result = run(tiny_model, "-n", "12", "-s", "1", "Hello")
    assert (result.status, result.stderr) == (0, "")
    assert len(result.stdout) > 1
    assert result.stdout.endswith("\n")


def test_the_same_seed_gives_the_same_text_and_another_another(tiny_model):
    first, again, other = (run(tiny_model, "-n", "24", "-s", seed, "Hello").stdout for seed in ("1", "1", "2"))
    assert first == again
    assert first != other


def test_a_draft_model_leaves_the_answer_as_it_is(tiny_model, tmp_path):
    plain = run(tiny_model, "-n", "24", "--temp", "0", "Hello")
    drafted = run(tiny_model, "-n", "24", "--temp", "0", "-md", str(tiny_model), "--draft", "4", "--stats", "Hello")
    assert (drafted.status, drafted.stdout) == (0, plain.stdout)
    found = re.search(r"\((\d+) of (\d+) drafted\)", drafted.stderr)
    assert found is not None
    assert found[1] == found[2] != "0"
    (tmp_path / "other.gguf").write_bytes(b"no model")
    assert run(tiny_model, "-md", str(tmp_path / "other.gguf"), "Hello").status == 3


def test_an_eagle_head_leaves_the_answer_as_it_is(tiny_model, tmp_path):
    head = tiny_eagle.eagle_head(tmp_path / "head.gguf")
    plain = run(tiny_model, "-n", "24", "--temp", "0", "Hello")
    for arguments in (["--draft", "4"], ["--spec-type", "draft-eagle3", "--draft", "2"]):
        drafted = run(tiny_model, "-n", "24", "--temp", "0", "-md", str(head), *arguments, "--stats", "Hello")
        assert (drafted.status, drafted.stdout) == (0, plain.stdout)
        assert re.search(r"\(\d+ of [1-9]\d* drafted\)", drafted.stderr)


def test_a_head_in_place_of_a_model_and_a_head_of_another_one(tiny_model, tmp_path):
    head = tiny_eagle.eagle_head(tmp_path / "head.gguf", taken=32)
    alone = run(head, "Hello")
    assert (alone.status, alone.stdout) == (3, "")
    assert "head.gguf is the EAGLE-3 head of a model, not a model (load that model, with the head as its -md)" in alone.stderr
    other = run(tiny_model, "-md", str(head), "Hello")
    assert (other.status, other.stdout) == (2, "")
    assert "does not fit tiny.gguf: it takes states of 32 values, those of the model have 64" in other.stderr
    assert (alone.stderr + other.stderr).count("\n") == 2


def test_greedy_needs_no_seed(tiny_model):
    assert (
        run(tiny_model, "-n", "12", "--temp", "0", "Hello").stdout
        == run(tiny_model, "-n", "12", "--top-k", "1", "Hello").stdout
    )


def test_the_chat_template_and_the_system_message_change_the_answer(tiny_model):
    answers = {
        run(tiny_model, "-n", "16", "--temp", "0", *extra, "Hello").stdout
        for extra in ([], ["--raw"], ["-sys", "Be brief."], ["--chat-template", "llama3"])
    }
    assert len(answers) == 4


def test_statistics(tiny_model):
    result = run(tiny_model, "-n", "5", "--ignore-eos", "--stats", "Hello")
    number = r"[\d,]+\.\d+"
    assert re.fullmatch(
        rf"llamacli: load {number} s · prompt \d+ tokens at {number} tokens/s · first token after {number} s"
        rf" · generated 5 tokens at {number} tokens/s · cut by -n\n",
        result.stderr,
    )


def test_no_native_line_reaches_stderr_unless_asked(tiny_model):
    verbose, debug = run(tiny_model, "-v", "-n", "1", "Hello"), run(tiny_model, "-vv", "-n", "1", "Hello")
    assert "llama.cpp: " in verbose.stderr
    assert all(line.startswith(("llama.cpp: ", "llamacli: ")) for line in verbose.stderr.splitlines())
    assert len(debug.stderr.splitlines()) >= len(verbose.stderr.splitlines())
    assert run(tiny_model, "-n", "1", "Hello").stderr == ""


def test_a_base_model_continues_the_text(tiny_base_model):
    result = run(tiny_base_model, "-v", "-n", "8", "--temp", "0", "Hello world")
    assert "llamacli: this model has no chat template: the text is continued as it is\n" in result.stderr
    assert result.stdout == run(tiny_base_model, "--raw", "-n", "8", "--temp", "0", "Hello world").stdout + "\n"


def test_stop_texts_end_the_answer_before_them(tiny_model):
    whole = run(tiny_model, "--raw", "-n", "30", "--temp", "0", "Hello").stdout
    stop = whole[5:8]
    assert run(tiny_model, "--raw", "-n", "30", "--temp", "0", "--stop", stop, "Hello").stdout == whole[: whole.index(stop)]


def test_a_prompt_longer_than_the_context(tiny_model):
    result = run(tiny_model, "-c", "128", "Hello " * 80)
    assert (result.status, result.stdout) == (4, "")
    assert re.search(r"the prompt has \d+ tokens, the context holds 128 \(-c \d+ is enough\)", result.stderr)


def test_a_full_context_is_an_error_and_context_shift_goes_on(tiny_model):
    full = run(tiny_model, "--raw", "-c", "64", "--ignore-eos", "Hello")
    assert full.status == 4
    assert len(full.stdout) > 10
    assert "--context-shift" in full.stderr
    shifted = run(tiny_model, "--raw", "-c", "64", "--ignore-eos", "--context-shift", "-n", "150", "--stats", "Hello")
    assert shifted.status == 0
    assert "generated 150 tokens" in shifted.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"GGUF", "x.gguf"),
        (b"<!DOCTYPE html><html></html>", "x.gguf"),
        (bytes(1000), "x.gguf"),
        (b"hello\n" * 100, "text"),
    ],
)
def test_files_that_are_no_models(tmp_path, content, says):
    file = tmp_path / "x.gguf"
    file.write_bytes(content)
    result = run(file, "Hello")
    assert (result.status, result.stdout) == (3, "")
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_truncated_model(tmp_path, tiny_model):
    file = tmp_path / "x.gguf"
    file.write_bytes(tiny_model.read_bytes()[:-50_000])
    result = run(file, "Hello")
    assert result.status == 3
    assert "it is truncated" in result.stderr


@pytest.mark.parametrize(
    ("extra", "status"),
    [(["--lora", "missing.gguf"], 3), (["-dev", "NOPE"], 2), (["--chat-template", "{{"], 2), (["--chat-template", "nope"], 2)],
)
def test_what_the_engine_refuses_is_one_line(tiny_model, extra, status):
    result = run(tiny_model, *extra, "Hello")
    assert (result.status, result.stdout, result.stderr.count("\n")) == (status, "", 1)


# --- processes -------------------------------------------------------------------------------------------------------


def start(model: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "llamacli", "run", "-m", str(model), *arguments],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_head_ends_the_program_silently(tiny_model):
    line = f"{sys.executable} -m llamacli run -m {tiny_model} --ignore-eos --context-shift --raw Hello; echo status $? >&2"
    result = subprocess.run(["sh", "-c", f"({line}) | head -c 20"], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert result.stderr == b"status 141\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_generating_keeps_what_was_printed(tiny_model, number, status):
    process = start(tiny_model, "--ignore-eos", "--context-shift", "--raw", "Hello")
    process.stdin.close()
    shown = os.read(process.stdout.fileno(), 1)
    sent = time.monotonic()
    process.send_signal(number)
    shown += process.stdout.read()
    assert process.wait(timeout=30) == status
    assert time.monotonic() - sent < LATE + SLACK
    assert shown
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()


@pytest.mark.demo
def test_ctrl_c_in_a_long_prefill_of_the_demo_model(demo_model):
    process = start(demo_model, "-c", "8192")
    process.stdin.write(b"The quick brown fox jumps over the lazy dog. " * 600)
    process.stdin.close()
    time.sleep(2)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert time.monotonic() - sent < LATE + SLACK
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()


@pytest.mark.demo
def test_the_demo_model_answers(demo_model):
    result = run(demo_model, "-n", "40", "--temp", "0", "What is the capital of France? Answer in one sentence.")
    assert "Paris" in result.stdout
