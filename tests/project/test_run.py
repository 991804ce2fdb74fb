"""tests/run.py: the steps that its arguments select."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, list[str]]:
    """The module, and the steps that it would have taken."""
    spec = importlib.util.spec_from_file_location("run_tests", ROOT / "tests" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    taken: list[str] = []
    monkeypatch.setattr(module, "_prepare", lambda *, rebuild: taken.append("rebuild" if rebuild else "reuse"))
    monkeypatch.setattr(module, "_run", lambda *words: taken.append(" ".join(words)) or 0)
    return module, taken


GATES = ["ruff check .", "ruff format --check .", "mypy", "lint-imports --no-cache", "python -m llamacli.cli.docs --check"]


def test_everything_is_run_without_arguments(steps) -> None:
    module, taken = steps
    assert module.main([]) == 0
    assert taken == ["rebuild", *GATES, "llamacli models pull demo minilm", "pytest -n 2"]


def test_other_arguments_are_for_pytest(steps) -> None:
    module, taken = steps
    assert module.main(["-k", "vendor"]) == 0
    assert taken[-1] == "pytest -k vendor"


def test_fast_neither_rebuilds_nor_needs_the_demo_model(steps) -> None:
    module, taken = steps
    assert module.main(["--fast", "-x"]) == 0
    assert taken[:-1] == ["reuse", *GATES]
    assert taken[-1].startswith("pytest -m not demo -n 2 ")
    assert taken[-1].endswith(" -x")


def test_fix_runs_no_tests(steps, capsys: pytest.CaptureFixture[str]) -> None:
    module, taken = steps
    assert module.main(["--fix"]) == 0
    assert taken == ["reuse", "python -m llamacli.cli.docs", "ruff check --fix .", "ruff format ."]
    assert module.main(["--fix", "-x"]) == 2
    assert "runs no tests" in capsys.readouterr().err


def test_a_failed_gate_ends_it(steps, monkeypatch: pytest.MonkeyPatch) -> None:
    module, taken = steps
    monkeypatch.setattr(module, "_run", lambda *words: taken.append(words[0]) or int(words[0] == "mypy"))
    assert module.main([]) == 1
    assert taken == ["rebuild", *(gate.split()[0] for gate in GATES)]


def test_the_slow_tests_exist(steps) -> None:
    module, _ = steps
    assert all((ROOT / path).exists() for path in module.SLOW)
