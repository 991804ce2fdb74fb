"""A few hundred mutants of models (also through commands), EAGLE-3 heads, grammars, schemas, regular expressions and states,
and a thousand of projectors: see README.md.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).parent / "run.py"


def fuzz(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", str(FUZZER), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["command", "grammar", "head", "model", "regex", "schema", "state"])
def test_mutants_end_as_they_should(kind: str, pytestconfig: pytest.Config) -> None:
    cases = max(pytestconfig.getoption("--fuzz-cases") // 100, 1)
    done = fuzz("--kind", kind, "--cases", cases)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    counts = [int(line.split()[1]) for line in done.stdout.splitlines() if line.endswith((" done", " refused", " died"))]
    assert sum(counts) == cases
    unloadable = [int(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("model: unloadable")]
    assert sum(unloadable) <= cases // 100, done.stdout


def test_mutants_of_projectors_are_refused_before_they_are_loaded_or_work(pytestconfig: pytest.Config) -> None:
    cases = pytestconfig.getoption("--fuzz-cases") // 10
    done = fuzz("--kind", "projector", "--cases", cases)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    counts = {line.split()[2]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert counts.keys() == {"done", "refused"}
    assert sum(counts.values()) == cases
    assert counts["done"] > cases // 20


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    assert fuzz("--kind", "regex", "--cases", 3, "--state", tmp_path).returncode == 0
    again = fuzz("--kind", "regex", "--cases", 5, "--state", tmp_path)
    counts = [int(line.split()[1]) for line in again.stdout.splitlines()]
    assert sum(counts) == 2, again.stdout
    assert fuzz("--kind", "regex", "--cases", 5, "--state", tmp_path).stdout == ""


def test_a_case_can_be_made_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    for path in (first, second):
        fuzz("--kind", "model", "--case", 7, "--keep", path)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != b""
