"""Altered data of llamacli: databases of sessions and benchmarks, vector indexes, result files. Errors are clear and prompt.

`pytest tests/fuzz --fuzz-cases 100000` makes 1,000 mutants for each test; CI makes a tenth. The seed of a failing one is in the
message.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fakes import invoke
from measured_rows import make_row, noisy, save
from mutants import alter_bytes, alter_cell, time_limit

from llamacli.store.benchmarks import history
from llamacli.store.benchmarks.history import History

SECONDS = 20.0
"""What one command may take with an altered file."""


@pytest.fixture
def cases(pytestconfig: pytest.Config) -> int:
    return max(pytestconfig.getoption("--fuzz-cases") // 100, 1)


def checkpoint(path: Path) -> None:
    """Bring everything into the file itself, and leave the file alone."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma wal_checkpoint(truncate)")
        database.execute("pragma journal_mode = delete")


def mutants(sound: Path, path: Path, cases: int, check: Callable[[], None], *, cells: bool) -> None:
    """Put `cases` altered copies of a file in its place, and check each."""
    data = sound.read_bytes()
    for seed in range(cases):
        chance = random.Random(seed)
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        if cells:
            shutil.copyfile(sound, path)
            done = ", ".join(alter_cell(path, chance) for _ in range(chance.choice((1, 1, 2))))
        else:
            done = "bytes"
            path.write_bytes(alter_bytes(data, chance))
        try:
            with time_limit(SECONDS):
                check()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {done}") from error


def run(*arguments: str) -> None:
    result = invoke(*arguments)
    assert "this is a bug" not in result.stderr, f"{arguments}: {result.stderr}"
    assert result.status in (0, 1, 2, 3, 5), f"{arguments}: {result.status} {result.stderr}"


# --- benchmarks --------------------------------------------------------------------------------------------------------------


def check_history() -> None:
    run("bench", "history")
    run("bench", "history", "--json")
    run("bench", "show", "1")
    run("bench", "show", "2", "--json")
    run("bench", "compare", "1", "2")
    run("bench", "export", "1", "2", "-o", "md")


@pytest.mark.parametrize("cells", [False, True])
def test_altered_histories(tmp_path: Path, cases: int, cells: bool) -> None:
    path = history.database_path()
    with closing(History()) as store:
        save(store, make_row(noisy(370, 1), n_prompt=64), make_row(noisy(100, 2), n_gen=16))
        save(store, make_row(noisy(380, 3), n_prompt=64), make_row((), error="out of memory", n_gen=16), interrupted=True)
    checkpoint(path)
    sound = tmp_path / "sound.db"
    shutil.copyfile(path, sound)
    check_history()
    mutants(sound, path, cases, check_history, cells=cells)
