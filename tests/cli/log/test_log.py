"""The log of `llamacli run`: what is kept, going on after an answer, and `llamacli log`."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from fakes import FakeEngine, Result, invoke
from row_runs import run as run_tiny

from llamacli.store.files import paths


def ask(*arguments: str, **how) -> Result:
    result = invoke("run", *arguments, **how)
    assert result.status == 0, result.stderr
    return result


def log(*arguments: str) -> str:
    result = invoke("log", *arguments)
    assert result.status == 0, result.stderr
    return result.stdout


def documents(*arguments: str) -> list[dict]:
    return json.loads(log("list", "--json", *arguments))


def test_nothing_is_kept_unless_it_is_wanted() -> None:
    ask("why?")
    assert not paths.data_dir().exists()
    assert documents() == []
    assert "the log is empty" in invoke("log", "list").stderr


def test_a_run_is_kept_with_its_settings_and_timings() -> None:
    first = ask("--log", "-sys", "Be kind.", "--seed", "7", "-n", "5", "-l", "12=false", "why?")
    assert "the log is in" in first.stderr
    assert "`llamacli log list` lists it" in " ".join(first.stderr.split())
    assert ask("--log", "and?").stderr == ""
    latest, entry = documents()
    assert (latest["id"], entry["id"], entry["prompt"]) == (2, 1, "why?")
    assert entry["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "why?"}]
    assert [one["content"] for one in entry["answers"]] == ["Because of Rayleigh scattering."]
    assert (entry["settings"]["seed"], entry["settings"]["max_tokens"]) == (7, 5)
    assert entry["settings"]["logit_bias"] == {"12": False}
    assert entry["usage"]["completion_tokens"] == 4
    assert entry["timings"]["predicted_n"] == 4
    assert entry["finish_reason"] == "stop"


@pytest.mark.parametrize("how", [{}, {"defaults": {"log": True}}])
def test_the_environment_and_the_settings_turn_it_on(how: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    if not how:
        monkeypatch.setenv("LLAMACLI_LOG", "1")
    ask("why?", **how)
    ask("--no-log", "secret", **how)
    assert [one["prompt"] for one in documents()] == ["why?"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_it_is_private() -> None:
    ask("--log", "why?")
    folder = paths.data_dir() / "sessions"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "sessions.db").stat().st_mode) == 0o600


def test_a_prompt_goes_on_with_the_last_answer_or_with_another() -> None:
    ask("--log", "-m", "first.gguf", "-sys", "Be kind.", "one", engine=FakeEngine(pieces=("1",)))
    ask("--log", "two", engine=FakeEngine(pieces=("2",)))
    after_last = ask("-C", "three").engine
    assert [one["content"] for one in after_last.messages] == ["two", "2", "three"]
    after_first = ask("--log-id", "1", "four").engine
    assert [one["content"] for one in after_first.messages] == ["Be kind.", "one", "1", "four"]
    assert after_first.path == Path("first.gguf")
    assert documents()[0]["continues"] == 1
    replaced = ask("--log-id", "1", "-sys", "Be short.", "five").engine
    assert [one["content"] for one in replaced.messages] == ["Be short.", "one", "1", "five"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("first.gguf", "{}/first.gguf"),
        ("./first.gguf", "{}/first.gguf"),
        ("of/a-server.gguf", "of/a-server.gguf"),
        ("demo", "demo"),
    ],
)
def test_a_file_is_found_again_from_another_directory(given: str, kept: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "first.gguf").touch()
    monkeypatch.chdir(tmp_path)
    ask("--log", "-m", given, "one")
    monkeypatch.chdir("other")
    assert documents()[0]["reference"] == kept.format(tmp_path)
    assert str(ask("-C", "two").engine.path) == kept.format(tmp_path)


def test_the_evaluated_context_is_kept_for_the_next_prompt(tiny_model: Path) -> None:
    text = "word " * 65
    assert run_tiny(tiny_model, "--log", text).status == 0
    states = paths.data_dir() / "sessions" / "log"
    assert [file.name for file in states.iterdir()] == ["1.state"]
    assert stat.S_IMODE(states.stat().st_mode) == 0o700
    result = run_tiny(tiny_model, "-C", "more", "--json")
    assert json.loads(result.stdout)["usage"]["prompt_tokens_details"]["cached_tokens"] > 100
    assert [file.name for file in states.iterdir()] == ["2.state"]
    log("rm", "--all")
    assert list(states.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-C", "x"), "the log is empty (run --log keeps prompts and answers)"),
        (("--log-id", "5", "x"), "the log has no entry 5"),
        (("-C", "--raw", "x"), "--raw cannot be used with --continue and --log-id"),
        (("-C", "--input", "rows"), "--continue cannot be used with --input"),
        (("--log", "--input", "rows"), "--log cannot be used with --input"),
    ],
)
def test_what_cannot_be_continued_is_a_usage_error(arguments: tuple[str, ...], says: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows").write_text("x\n")
    result = invoke("run", *arguments)
    assert result.status == 2
    assert says in result.stderr


def test_the_setting_is_about_prompts_and_does_not_hinder_rows(tiny_model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("x\n")
    assert run_tiny(tiny_model, "--input", str(rows), defaults={"log": True}).status == 0
    assert documents() == []


def test_a_run_that_is_interrupted_before_its_first_word_is_not_kept() -> None:
    ask("--log", "why?")
    engine = FakeEngine()
    engine.cancel()
    assert invoke("run", "--log", "and?", engine=engine).stdout == ""
    assert [one["prompt"] for one in documents()] == ["why?"]


def test_a_text_is_kept_and_cannot_be_continued() -> None:
    ask("--log", "--raw", "Once upon")
    assert documents()[0]["messages"] == []
    result = invoke("run", "-C", "x")
    assert (result.status, "is a text, not a conversation" in result.stderr) == (2, True)


def test_entries_are_listed_shown_found_and_exported(tmp_path: Path) -> None:
    ask("--log", "Is the cellar\x1b[2J wet?", engine=FakeEngine(pieces=("Yes, the PUMP leaks.",)))
    ask("--log", "--seed", "3", "hello")
    assert [line.split()[0] for line in log("list").splitlines()] == ["2", "1"]
    assert log("list", "--limit", "1").count("\n") == 1
    assert "\x1b" not in log("list") + log("show", "1")
    assert log("search", "pump", "cellar").split()[0] == "1"
    assert "PUMP" in log("search", "pump")
    assert "no entry has these words" in invoke("log", "search", "pump", "nonsense").stderr
    shown = log("show")
    assert "settings  seed 3\n" in shown
    assert shown.endswith("--- user\nhello\n--- answer\nBecause of Rayleigh scattering.\n")
    assert [json.loads(line)["id"] for line in log("export").splitlines()] == [1, 2]
    log("export", "2", "-o", str(tmp_path / "x.md"))
    assert "**Answer**\n\nBecause of Rayleigh" in (tmp_path / "x.md").read_text()
    log("export", "-o", str(tmp_path / "x.json"))
    assert [one["id"] for one in json.loads((tmp_path / "x.json").read_text())] == [1, 2]
    assert invoke("log", "export", "-o", "x.txt").status == 2


def test_entries_are_removed(tmp_path: Path) -> None:
    for prompt in ("one", "two-secret", "three"):
        ask("--log", prompt)
    assert "the log has no entry 9" in invoke("log", "rm", "1", "9").stderr
    assert "removed 1 entry" in invoke("log", "rm", "2").stderr
    assert [one["id"] for one in documents()] == [3, 1]
    folder = paths.data_dir() / "sessions"
    assert not any(b"two-secret" in file.read_bytes() for file in folder.iterdir() if file.is_file())
    assert "removed 0 entries" in invoke("log", "rm", "--older-than", "1").stderr
    assert "removed 2 entries" in invoke("log", "rm", "--all").stderr
    for arguments in ((), ("1", "--all")):
        assert "rm needs the numbers of entries, or --all" in invoke("log", "rm", *arguments).stderr


def test_a_log_that_cannot_be_written_is_a_warning() -> None:
    paths.data_dir().mkdir(parents=True)
    (paths.data_dir() / "sessions").write_text("no folder")
    result = ask("--log", "why?")
    assert result.stdout.startswith("Because")
    assert "warning: no log is kept" in result.stderr


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_the_terminal(width: int) -> None:
    from llamacli.cli.framework.console import Terminals

    ask("--log", "a long prompt " * 10, "-m", "a-model-with-a-long-name-Q4_K_M.gguf")
    for words in (("list",), ("search", "prompt")):
        out = invoke("log", *words, terminals=Terminals(stdout=True), width=width).stdout
        assert all(len(line) <= width for line in out.splitlines()), out


@pytest.mark.parametrize("command", ["log show", "log rm", "log export", "run --log-id"])
def test_a_number_beyond_the_database_is_no_entry(command: str) -> None:
    ask("--log", "why?")
    huge = str(1 << 64)
    result = invoke(*command.split(), huge, *(["and?"] if command.startswith("run") else []))
    assert (result.status, f"the log has no entry {huge}" in result.stderr) == (2, True)
    assert len(documents()) == 1


@pytest.mark.parametrize("command", ["log list", "log search why"])
def test_a_limit_beyond_the_database_is_none(command: str) -> None:
    ask("--log", "why?")
    assert "why?" in log(*command.split()[1:], "--limit", str(1 << 64))
