"""Altered data of llamacli: databases of sessions and benchmarks, vector indexes, result files. Errors are clear and prompt.

`pytest tests/fuzz --fuzz-cases 200000` makes 1,000 mutants for each test; CI makes 50. The seed of a failing one is in the
message.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fakes import invoke
from measured_rows import make_row, noisy, save
from mutants import alter_bytes, alter_cell, time_limit
from talk import talk
from tiny_bert import tiny_bert

from llamacli.batch.results import MAX_ROWS, ResultFile
from llamacli.batch.vector_formats import Csv, JsonLines, Npy, Npz, Raw
from llamacli.errors import LlamacliError
from llamacli.store.benchmarks import history
from llamacli.store.benchmarks.history import History
from llamacli.store.sessions.store import SavedMessage, SessionStore

SECONDS = 20.0
"""What one command may take with an altered file."""


@pytest.fixture
def cases(pytestconfig: pytest.Config) -> int:
    return max(pytestconfig.getoption("--fuzz-cases") // 200, 1)


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


def run(*arguments: str, **how: object) -> None:
    result = invoke(*arguments, **how)
    assert "this is a bug" not in result.stderr, f"{arguments}: {result.stderr}"
    assert result.status in (0, 1, 2, 3, 5, 6), f"{arguments}: {result.status} {result.stderr}"


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


def check_rows(file: Path) -> None:
    run("bench", "compare", str(file), "1")


def test_altered_benchmark_files(tmp_path: Path, cases: int) -> None:
    with closing(History()) as store:
        save(store, make_row(noisy(370, 1), n_prompt=64), make_row(noisy(100, 2), n_gen=16))
    sound, file = tmp_path / "sound.json", tmp_path / "rows.json"
    sound.write_text(invoke("bench", "export", "1").stdout)
    mutants(sound, file, cases, lambda: check_rows(file), cells=False)


# --- sessions ----------------------------------------------------------------------------------------------------------------


def make_sessions() -> Path:
    """A database with two conversations: one of branches, and one with a call of a tool."""
    with closing(SessionStore()) as store:
        first = store.create(model="demo", system="Be kind.", name="work")
        for number, parent, role in (
            (1, None, "user"),
            (2, 1, "assistant"),
            (3, 2, "user"),
            (4, 3, "assistant"),
            (5, 2, "user"),
        ):
            text = f"message {number} about cats"
            store.put(first.id, SavedMessage(number, parent, {"role": role, "content": text}), text=text)
        store.update(first.id, head=4, system="Be kind.", model="demo")
        second = store.create(model="demo")
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
        documents = (
            {"role": "user", "content": "What is there?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "a cat", "tool_call_id": "c1", "name": "look"},
            {"role": "assistant", "content": "A cat."},
        )
        for number, document in enumerate(documents, start=1):
            store.put(second.id, SavedMessage(number, number - 1 or None, document), text=str(document["content"]))
        store.update(second.id, head=4, system=None, model="demo")
        assert store.search("cat")
        return store.path


def check_sessions() -> None:
    run("chat", "--list")
    for arguments in (("-c",), ("--session", "work")):
        result = talk("/branches\r/sessions\r/search cat\r/undo\rHi\r", *arguments)
        assert "this is a bug" not in result.stdout + result.stderr, result.stderr or result.stdout
        assert result.status in (0, 1, 2), result.stderr


@pytest.mark.parametrize("cells", [False, True])
def test_altered_sessions(tmp_path: Path, cases: int, cells: bool) -> None:
    path = make_sessions()
    checkpoint(path)
    sound = tmp_path / "sound.db"
    shutil.copyfile(path, sound)
    check_sessions()
    mutants(sound, path, cases, check_sessions, cells=cells)


# --- vectors -----------------------------------------------------------------------------------------------------------------

TEXTS = ("red cat", "blue dog", "the mat", "a bird")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert") / "bert.gguf")


def index(*arguments: str) -> None:
    run("embed", "index", *arguments, find_model=lambda app, reference, *, offline: Path(reference))


@pytest.mark.parametrize("cells", [False, True])
def test_altered_indexes(bert: Path, tmp_path: Path, cases: int, cells: bool) -> None:
    sound, path = tmp_path / "sound.db", tmp_path / "own" / "x.db"
    path.parent.mkdir()
    index("add", str(sound), "-m", str(bert), *TEXTS)
    checkpoint(sound)

    def check() -> None:
        index("info", str(path))
        index("search", str(path), "cat", "-m", str(bert), "--json")
        index("rm", str(path), "--number", "2")
        index("add", str(path), "-m", str(bert), "blue dog", "a fish")

    mutants(sound, path, cases, check, cells=cells)


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.npy", "x.npz", "x.f32"])
def test_altered_vector_files(bert: Path, tmp_path: Path, cases: int, name: str) -> None:
    sound, path = tmp_path / f"sound-{name}", tmp_path / "own" / name
    path.parent.mkdir()

    def embed(file: Path) -> None:
        run("embed", "-m", str(bert), "--dims", "4", "-o", str(file), "--resume", *TEXTS, find_model=found)

    embed(sound)
    mutants(sound, path, max(cases // 5, 1), lambda: embed(path), cells=False)


def full_disk(self: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.npy", "x.npz", "x.f32"])
@pytest.mark.parametrize("altered", ["content", "mark"])
def test_altered_partial_files(
    bert: Path, tmp_path: Path, cases: int, name: str, altered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an interrupted run left: the vectors (of an archive, in two files), and the mark with the settings."""
    target, mark = tmp_path / name, tmp_path / f"{name}.partial.json"

    def embed() -> None:
        run("embed", "-m", str(bert), "--dims", "4", "-o", str(target), "--resume", *TEXTS * 4, find_model=found)

    with monkeypatch.context() as patch:
        for writer in (JsonLines, Csv, Npy, Npz, Raw):
            patch.setattr(writer, "close", full_disk)
        embed()
    content = list(Npz.parts(tmp_path / f"{name}.partial")) if name == "x.npz" else [tmp_path / f"{name}.partial"]
    sound = {path: path.read_bytes() for path in (*content, mark)}
    path = content[-1] if altered == "content" else mark

    def check() -> None:
        target.unlink(missing_ok=True)
        for other, data in sound.items():
            if other != path:
                other.write_bytes(data)
        embed()

    kept = tmp_path / "sound"
    kept.write_bytes(sound[path])
    mutants(kept, path, max(cases // 5, 1), check, cells=False)


def found(app: object, reference: str, *, offline: bool) -> Path:
    return Path(reference)


# --- results of rows ---------------------------------------------------------------------------------------------------------


def test_rows_far_apart_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps({"row": number}) + "\n" for number in (0, MAX_ROWS - 1, 1 << 31)))
    tracemalloc.start()
    with closing(ResultFile(path, lambda data: None, resume=True)) as results:
        assert [results.holds(number) for number in (0, 1, 1 << 31, MAX_ROWS - 1)] == [True, False, True, True]
        assert (results.kept, results.failed) == (3, 0)
        results.put_in_order()
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    assert [json.loads(line)["row"] for line in path.read_text().splitlines()] == [0, 1 << 31, MAX_ROWS - 1]


def test_altered_results(tmp_path: Path, cases: int) -> None:
    sound, path = tmp_path / "sound.jsonl", tmp_path / "own" / "results.jsonl"
    path.parent.mkdir()
    rows = [{"row": number, "text": "a word", "error": {"message": "x"} if number == 2 else None} for number in (1, 0, 2, 4, 3)]
    sound.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def check() -> None:
        with contextlib.suppress(LlamacliError), closing(ResultFile(path, lambda data: None, resume=True)) as results:
            if not results.holds(5):
                results.write({"row": 5, "text": "new"})
            results.put_in_order()

    mutants(sound, path, cases, check, cells=False)
