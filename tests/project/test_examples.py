"""The examples of the README and the guides: shell lines run, settings are valid, Python runs, output is the program's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from examples import BENCH, DOCUMENTS, FILES, ROOT, Document, agrees, prepare
from screenshots import shown

GUIDES = DOCUMENTS[1:]
SHELL = [(document.name, block) for document in GUIDES for block in document.blocks("sh")]
PYTHON = [(document.name, block) for document in DOCUMENTS for block in document.blocks("python")]
CALLS = [(document, line, output) for document in DOCUMENTS for line, output in document.calls()]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples use, and `llamacli` on the PATH."""
    program = tmp_path / "bin" / "llamacli"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = embed ] && [ "$EMBEDDING_MODEL" ]; then export LLAMACLI_MODEL="$EMBEDDING_MODEL"; fi\n'
        f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m llamacli "$@"\n'
    )
    program.chmod(0o755)
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    work = tmp_path / "work"
    work.mkdir()
    prepare(work)
    return work


def test_there_are_examples_to_run() -> None:
    assert len([name for name, _ in SHELL if name == "pipelines"]) >= 14
    assert {"README", "embeddings", "grammars", "inspection", "models"} <= {document.name for document, _, _ in CALLS}
    assert {name for name, _ in PYTHON} == {"README", "python"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_block_is_of_a_kind_that_is_tested_or_says_that_it_is_not(document: Document) -> None:
    infos = set(re.findall(r"^ *```(.+)$", document.text, re.MULTILINE))
    assert infos <= {"sh", "sh not-run", "console", "python", "toml", "json", "text"}


@pytest.mark.parametrize(("name", "code"), SHELL, ids=[f"{name}-{number}" for number, (name, _) in enumerate(SHELL)])
def test_shell_lines_run(
    name: str, code: str, place: Path, tiny_model: Path, tiny_embedding_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("jq", "git"):
        if re.search(rf"\b{tool} ", code) and not shutil.which(tool):
            pytest.skip(f"no {tool}")
    shutil.copy(tiny_model, place / "model.gguf")
    if "git diff" in code:
        subprocess.run(["git", "init", "-q"], cwd=place, check=True)
        subprocess.run(["git", "add", "notes.txt"], cwd=place, check=True)
        (place / "notes.txt").write_text(FILES["notes.txt"].replace("Anna", "Bert"))
    if code.startswith("jq"):
        (place / "answers.jsonl").write_text('{"id": 1, "text": "yes"}\n{"id": 2, "error": {"message": "no"}}\n')
    monkeypatch.setenv("LLAMACLI_MODEL", str(tiny_model))
    # One model cannot do both: vectors come from another, as without -m.
    monkeypatch.setenv("EMBEDDING_MODEL", str(tiny_embedding_model))
    done = subprocess.run(
        ["bash", "-c", f"set -eo pipefail\n{code}"],
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "llamacli: error" not in done.stderr
    files = {path.name for path in place.iterdir()} - FILES.keys() - {"model.gguf"}
    assert done.stdout.strip() or files or "lint" in code


@pytest.mark.parametrize(("name", "code"), PYTHON, ids=[name for name, _ in PYTHON])
def test_python_runs(name: str, code: str, place: Path, tiny_model: Path) -> None:
    shutil.copy(tiny_model, place / "model.gguf")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "grammar" not in code or name == "README" or re.search(r"^(yes|no)$", done.stdout, re.MULTILINE)
    assert done.stdout


def test_settings_are_valid(place: Path) -> None:
    (text,) = (block for document in DOCUMENTS for block in document.blocks("toml") if "[profiles." in block)
    (place / "settings.toml").write_text(text)
    done = subprocess.run(
        ["llamacli", "config", "check", "settings.toml"], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "[profiles.production]" in text
    assert "[profiles.development]" in text


def test_files_of_tools_and_servers_are_valid(tmp_path: Path) -> None:
    from llamacli.tools.definitions import read_commands, read_servers

    tools, servers = (json.loads(block) for document in DOCUMENTS for block in document.blocks("json"))
    offers, problems = read_commands(tools, tmp_path, {})
    assert ([offer.tool.name for offer in offers], problems) == (["weather"], ())
    assert [server.name for server in read_servers(servers, tmp_path, {})] == ["files"]


@pytest.mark.demo
@pytest.mark.parametrize(("document", "line", "output"), CALLS, ids=[f"{one.name}: {line}" for one, line, _ in CALLS])
def test_output_is_the_programs(
    document: Document, line: str, output: str, place: Path, demo_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = place / "data" / "models"
    data.mkdir(parents=True)
    for file in demo_model.parent.glob("*.gguf"):
        (data / file.name).symlink_to(file)
    if (" embed " in line or "models list" in line) and not (data / "all-MiniLM-L6-v2.F16.gguf").exists():
        pytest.skip("the model for vectors is not on this machine: `llamacli models pull minilm` fetches it")
    monkeypatch.setenv("LLAMACLI_DATA_DIR", str(place / "data"))
    monkeypatch.setenv("NO_COLOR", "1")
    # One thread: several take minutes on a busy machine.
    quick = " -t 1 -r 1 --no-warmup" if line.startswith(BENCH) else ""
    found = shown(line + quick, place, document.width)
    assert agrees(line, found, output), found
