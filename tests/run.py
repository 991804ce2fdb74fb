"""All that must pass before a change lands: the gates, then the tests, in an environment of their own (`build/venv`).

    python3 tests/run.py [PYTEST ARGUMENTS]            everything, as in continuous integration
    python3 tests/run.py --fast [PYTEST ARGUMENTS]     the gates and the fast tests, without rebuilding the native library
    python3 tests/run.py --fix                         correct style and format, write man pages and completions anew

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
    ("python", "-m", "llamacli.cli.docs", "--check"),
)

FIXES = (
    ("python", "-m", "llamacli.cli.docs"),
    ("ruff", "check", "--fix", "."),
    ("ruff", "format", "."),
)

SLOW = (
    "tests/bench/test_statistics.py",
    "tests/cli/embed",
    "tests/cli/models/test_models.py",
    "tests/cli/help",
    "tests/cli/run/test_dask.py",
    "tests/cli/run/test_structured.py",
    "tests/cli/run/test_url_processes.py",
    "tests/cli/test_process.py",
    "tests/cli/tokenize",
    "tests/engine/chat/test_template_hostile.py",
    "tests/engine/runtime/test_vocabulary.py",
    "tests/engine/tokenization/test_vocabulary_rules.py",
    "tests/fuzz",
    "tests/grammar/test_parser.py",
    "tests/project/test_completion.py",
    "tests/project/test_docs.py",
    "tests/project/test_examples.py",
    "tests/project/test_install.py",
    "tests/repl/test_chat.py",
    "tests/repl/test_states.py",
    "tests/repl/test_tmux.py",
    "tests/server/test_page.py",
    "tests/store/test_hub.py",
    "tests/store/test_models.py",
    "tests/tools/test_mcp.py",
)
"""Tests that `--fast` leaves out: real shells, terminals, servers, browsers, whole vocabularies, large files, statistics."""

FAST = ("-m", "not demo", "-n", "2", "--fuzz-cases", "100", *(f"--ignore={path}" for path in SLOW))
"""The arguments of pytest for `--fast`."""

ALL = ("-n", "2")
"""The arguments of pytest for everything: the cores of a small machine side by side."""

_READY = "import mypy, pytest, xdist; from llamacli.binding.location import find_folder; find_folder()"
"""Fails in an environment that lacks the libraries or what the tests need."""


def main(arguments: list[str]) -> int:
    """Prepare the environment, run every gate, then the tests if all gates passed. Return the exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - an older one may well run this file
        print("llamacli needs Python 3.11 or newer", file=sys.stderr)
        return 1
    fast, fix = "--fast" in arguments, "--fix" in arguments
    others = [argument for argument in arguments if argument not in ("--fast", "--fix")]
    if fix and (fast or others):
        print("--fix runs no tests: give it no other argument", file=sys.stderr)
        return 2
    _prepare(rebuild=not (fast or fix))
    failed = [" ".join(command) for command in (FIXES if fix else GATES) if _run(*command)]
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
        return 1
    if fix:
        return 0
    if not fast and _run("llamacli", "models", "pull", "demo", "minilm"):
        print("without the demo models the tests that need them are skipped", file=sys.stderr)
    return _run("pytest", *(FAST if fast else () if others else ALL), *others)


def _prepare(*, rebuild: bool) -> None:
    """Create the environment if it does not exist, and install this checkout in it together with the needs of the tests.

    Without `rebuild` an environment that is ready is left as it is.
    """
    started = time.monotonic()
    if not _is_current():
        print("building llama.cpp takes a few minutes the first time", flush=True)
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
    elif not rebuild and _succeeds("-c", _READY):
        return
    if _run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", ".[test]"):
        raise SystemExit(1)
    print(f"installed in {time.monotonic() - started:.0f} s", flush=True)


def _is_current() -> bool:
    """Return whether the environment works and has the version of this Python."""
    wanted = tuple(sys.version_info[:3])
    return _succeeds("-c", f"import sys, pip; sys.exit(sys.version_info[:3] != {wanted})")


def _succeeds(*arguments: str) -> bool:
    """Return whether the environment's Python ends well with these arguments."""
    try:
        return subprocess.run([_program("python"), *arguments], cwd=ROOT, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


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
