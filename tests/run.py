"""All that must pass before a change lands: the gates, then the tests, in an environment of their own (`build/venv`).

    python3 tests/run.py [PYTEST ARGUMENTS]

A first run builds llama.cpp (minutes); later ones compile what changed. Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / "build" / "venv"

GATES = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports", "--no-cache"),
)


def main(pytest_arguments: list[str]) -> int:
    """Prepare the environment, run every gate, then the tests if all gates passed. Returns the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - an older one may well run this file
        print("llamacli takes Python 3.11 or newer", file=sys.stderr)
        return 1
    _prepare()
    failed = [" ".join(gate) for gate in GATES if _run(*gate)]
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
        return 1
    if _run("llamacli", "models", "pull", "demo", "minilm"):
        print("without the demo models the tests that need them are skipped", file=sys.stderr)
    return _run("pytest", *pytest_arguments)


def _prepare() -> None:
    """Create the environment unless it is there, and install this checkout in it with what the tests need."""
    started = time.monotonic()
    if not _is_current():
        print("building llama.cpp takes a few minutes the first time", flush=True)
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
    if _run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", ".[test]"):
        raise SystemExit(1)
    print(f"installed in {time.monotonic() - started:.0f} s", flush=True)


def _is_current() -> bool:
    """Whether the environment works and has the version of this Python."""
    version = [_program("python"), "-c", "import sys, pip; print(*sys.version_info[:3])"]
    try:
        found = subprocess.run(version, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return found.stdout.split() == [str(part) for part in sys.version_info[:3]]


def _run(program: str, *arguments: str) -> int:
    """Run a program of the environment at the root of the checkout, and return its exit status."""
    print(f"\n$ {program} {' '.join(arguments)}", flush=True)
    path = os.pathsep.join([str(Path(_program(program)).parent), os.environ.get("PATH", os.defpath)])
    command = [_program(program), *arguments]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, env={**os.environ, "PATH": path}, check=False).returncode


def _program(name: str) -> str:
    return str(ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin") / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
