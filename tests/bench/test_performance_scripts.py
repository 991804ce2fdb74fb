"""The scripts of `tests/performance`: each starts with the installed package, whatever sources are in the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import llamacli

FOLDER = Path(__file__).parents[1] / "performance"
SCRIPTS = sorted(FOLDER.glob("bench_*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_starts_beside_sources_without_libraries(script: Path, tmp_path: Path) -> None:
    (tmp_path / "llamacli").mkdir()
    (tmp_path / "llamacli" / "__init__.py").write_text('raise ImportError("these are not the installed ones")\n')
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if not _is_found_without_path(environment, tmp_path):
        pytest.skip("the package is not installed for this interpreter")
    done = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert script.name in done.stdout


def test_no_script_puts_the_checkout_before_the_installed_package() -> None:
    for script in FOLDER.glob("*.py"):
        text = script.read_text(encoding="utf-8")
        assert "PYTHONPATH" not in text, script.name
        assert "cwd=" not in text, script.name
        assert '"-m", "llamacli"' not in text or '"-P"' in text, script.name


def _is_found_without_path(environment: dict[str, str], folder: Path) -> bool:
    command = [sys.executable, "-P", "-c", "import llamacli; print(llamacli.__file__)"]
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return found.stdout.strip() == llamacli.__file__
