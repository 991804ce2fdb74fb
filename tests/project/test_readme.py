"""The README: its pipelines are run, its settings are checked, its Python runs, its tour is what the program writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from screenshots import shown

from llamacli.cli.registry import REGISTRY

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()

NOTES = """Monday: the pump in cellar 2 leaks; Anna ordered a seal, it comes on Thursday.
Tuesday: visitors at 10:00, coffee for six. The door of the lift sticks again.
Wednesday: backup failed, disk full. Tom deleted old logs and started it again.
"""
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FILES = {
    "notes.txt": NOTES,
    "reviews.txt": "It broke after one day.\nBest lamp I ever had, and so light!\nIt is a lamp.\n",
    "questions.jsonl": '{"id": 1, "prompt": "Why?"}\n{"id": 2, "prompt": "Where?"}\n',
    "person.json": json.dumps(PERSON),
    "old-answer.json": '{"name": "Ada", "age": 36}\n',
    "answer.gbnf": 'root ::= "yes" | "no"\n',
    "cases.jsonl": '{"text": "yes", "valid": true}\n{"text": "maybe", "valid": false}\n',
}


def section(title: str) -> str:
    """The text below a heading, to the next one of the same rank."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


PIPELINES = blocks(section("Pipelines worth copying"), "sh")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README speaks of, and `llamacli` on the PATH."""
    program = tmp_path / "bin" / "llamacli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m llamacli "$@"\n')
    program.chmod(0o755)
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    work = tmp_path / "work"
    work.mkdir()
    for name, text in FILES.items():
        (work / name).write_text(text)
    return work


def test_there_are_pipelines_to_copy() -> None:
    assert len(PIPELINES) >= 10


@pytest.mark.parametrize("pipeline", PIPELINES, ids=range(len(PIPELINES)))
def test_pipelines_run(
    pipeline: str, place: Path, tiny_model: Path, tiny_embedding_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("jq", "git"):
        if re.search(rf"\b{tool} ", pipeline) and not shutil.which(tool):
            pytest.skip(f"no {tool}")
    shutil.copy(tiny_model, place / "model.gguf")
    if "git diff" in pipeline:
        subprocess.run(["git", "init", "-q"], cwd=place, check=True)
        subprocess.run(["git", "add", "notes.txt"], cwd=place, check=True)
        (place / "notes.txt").write_text(NOTES.replace("Anna", "Bert"))
    monkeypatch.setenv("LLAMACLI_MODEL", str(tiny_model))
    # The tiny model knows no end, and one model cannot do both: vectors come from another, as they do without -m.
    code = f"llamacli() {{ if [ $1 = embed ]; then LLAMACLI_MODEL='{tiny_embedding_model}' command llamacli \"$@\"; "
    code += 'else command llamacli "$@"; fi; }; set -o pipefail\n' + pipeline
    done = subprocess.run(
        ["bash", "-c", code], cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "llamacli: error" not in done.stderr
    assert done.stdout.strip() or (place / "answers.jsonl").exists() or "lint" in pipeline


def test_settings_are_free_of_mistakes(place: Path) -> None:
    for number, text in enumerate(blocks(section("Settings"), "toml")):
        (place / f"{number}.toml").write_text(text)
        done = subprocess.run(
            ["llamacli", "config", "check", f"{number}.toml"], cwd=place, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
        assert "[profiles.production]" in text
        assert "[profiles.development]" in text


def test_python_runs(place: Path, tiny_model: Path) -> None:
    shutil.copy(tiny_model, place / "model.gguf")
    for text in blocks(section("From Python"), "python"):
        done = subprocess.run(
            [sys.executable, "-c", text],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert re.search(r"^(yes|no)$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("entry", REGISTRY, ids=lambda entry: entry.name)
def test_every_command_is_in_the_readme(entry) -> None:
    assert f"llamacli {entry.name} " in README


def test_every_command_of_the_readme_is_there() -> None:
    named = set(re.findall(r"llamacli ([a-z]+) ", " ".join(blocks(README, "sh") + blocks(README, "console"))))
    assert named <= {entry.name for entry in REGISTRY}


def test_links_and_pictures_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in README.splitlines() if line[:1] == "#"
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings


def test_screenshots_show_no_path_of_the_machine_that_drew_them() -> None:
    for path in (ROOT / "man" / "screenshots").glob("*.svg"):
        text = path.read_text()
        assert text.startswith("<svg")
        assert "/root" not in text
        assert "/home/ada" in text or "/home" not in text


CALLS = [
    (line, output)
    for block in blocks(README, "console")
    for line, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


@pytest.mark.demo
@pytest.mark.parametrize(("line", "output"), CALLS, ids=[line for line, _ in CALLS])
def test_the_tour_is_what_the_program_writes(
    line: str, output: str, place: Path, demo_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = place / "data" / "models"
    data.mkdir(parents=True)
    for file in demo_model.parent.glob("*.gguf"):
        (data / file.name).symlink_to(file)
    if (" embed " in line or "models list" in line) and not (data / "all-MiniLM-L6-v2.F16.gguf").exists():
        pytest.skip("the model for vectors is not on this machine: `llamacli models pull minilm` fetches it")
    monkeypatch.setenv("LLAMACLI_DATA_DIR", str(place / "data"))
    monkeypatch.setenv("NO_COLOR", "1")
    # One thread: several take minutes where something else runs.
    quick = " -t 1 -r 1 --no-warmup" if line.startswith("llamacli bench") else ""
    found = shown(line + quick, place)
    if line.startswith("llamacli run"):  # what a model writes, and how long it takes, differs between processors
        assert found.strip()
        assert "llamacli: error" not in found
    elif line.startswith("llamacli bench"):
        assert names_of_tests(found) == names_of_tests(output) != []
    elif "--fit" in line:  # so does the memory that is free
        assert [row.split()[0] for row in found.splitlines()] == [row.split()[0] for row in output.splitlines()]
    else:  # and the last digit of a vector's numbers
        assert rounded(found) == rounded(output)


def names_of_tests(text: str) -> list[str]:
    """The names of the tests in a table of `bench`."""
    return [line.split()[0] for line in text.splitlines() if re.match("(pp|tg)[0-9]", line)]


def rounded(text: str) -> list[str]:
    """The lines without their last digits, and without what ends them unseen."""
    return [re.sub(r"(\d\.\d)\d+", r"\1", line).rstrip() for line in text.splitlines()]
