"""The history of benchmarks: the store, and `llamacli bench history`, `show`, `export` and `rm`."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fakes import invoke
from measured_rows import ORIGIN, make_row, noisy, save

from llamacli.bench.compare.runs import subject_of
from llamacli.bench.measure.provenance import describe_origin
from llamacli.cli.bench.options import PlanOptions, SetupOptions, WorkOptions
from llamacli.cli.bench.save import command_line, store_run
from llamacli.cli.complete import print_candidates
from llamacli.engine.system import describe_build
from llamacli.errors import LlamacliError, UsageError
from llamacli.store.benchmarks import history
from llamacli.store.benchmarks.history import History, fingerprint


@pytest.fixture
def store(tmp_path: Path):
    with closing(History(tmp_path / "own" / "history.db")) as opened:
        yield opened


def stored(*rows: dict[str, Any], **more: Any) -> int:
    with closing(History()) as opened:
        return save(opened, *rows, **more)


# --- the store -----------------------------------------------------------------------------------------------------------


def test_only_the_user_may_enter(store: History, tmp_path: Path) -> None:
    save(store, make_row())
    assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
    for file in (tmp_path / "own").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_a_saved_run_is_read_back(store: History) -> None:
    rows = [make_row(noisy(370, 1), n_prompt=64), make_row((), error="out of memory", n_gen=16)]
    number = save(store, *rows, interrupted=True)
    run = store.run(number)
    assert [dict(row) for row in run.rows] == rows
    assert (run.id, run.command, run.interrupted, dict(run.options)) == (
        number,
        "llamacli bench -p 64",
        True,
        {"n_prompt": [[64]]},
    )
    assert run.origin == ORIGIN
    assert (run.machine, run.build) == (fingerprint(ORIGIN["machine"]), fingerprint(ORIGIN["build"]))
    (listed,) = store.runs()
    assert listed.models == ("small.gguf",)
    assert [test for test, _ in listed.results] == ["pp64", "tg16"]
    assert listed.results[0][1] == rows[0]["median_ts"]
    assert listed.results[1][1] is None
    assert listed.llama_cpp == "0c1e57098"


def test_hostile_text_is_stored_too(store: History) -> None:
    row = make_row(noisy(9, 1), model="/tmp/\udcff\0\x1b[2J.gguf")
    number = save(store, row | {"error": "bad \ud800"})
    assert store.run(number).rows[0]["model_filename"] == "/tmp/\udcff\0\x1b[2J.gguf"
    assert store.run(number).rows[0]["error"] == "bad \ud800"


def test_runs_are_filtered_and_the_latest_come_first(store: History) -> None:
    other = ORIGIN | {"machine": ORIGIN["machine"] | {"cores": 64}}
    one = save(store, make_row(n_prompt=64))
    two = save(store, make_row(model="/models/Qwen3-4B.gguf"))
    three = save(store, make_row(), origin=other)
    assert [run.id for run in store.runs()] == [three, two, one]
    assert [run.id for run in store.runs(limit=2)] == [three, two]
    assert [run.id for run in store.runs(model="qwen3")] == [two]
    assert [run.id for run in store.runs(test="pp")] == [one]
    assert [run.id for run in store.runs(machine=fingerprint(other["machine"]))] == [three]
    assert store.runs(model="100%_") == []


def test_last_counts_from_the_end(store: History) -> None:
    with pytest.raises(UsageError, match="no stored runs"):
        store.last()
    one, two = save(store, make_row()), save(store, make_row())
    assert (store.last(), store.last(1)) == (two, one)
    with pytest.raises(UsageError, match="only 2 stored runs"):
        store.last(2)


def test_remove_takes_all_or_none(store: History) -> None:
    one, two = save(store, make_row()), save(store, make_row())
    with pytest.raises(UsageError, match="unknown run 99"):
        store.remove([one, 99])
    assert len(store.runs()) == 2
    store.remove([one, two])
    assert store.runs() == []
    assert save(store, make_row()) == two + 1, "numbers are never given twice"


def test_speeds_of_the_same_subject(store: History) -> None:
    speeds = [100.0, 101.0, 99.0]
    runs = [save(store, make_row([speed] * 3)) for speed in speeds]
    save(store, make_row([50.0] * 3, n_threads=4))
    save(store, make_row([51.0] * 3), origin=ORIGIN | {"build": ORIGIN["build"] | {"llama_cpp": "other"}})
    save(store, make_row((), error="out of memory"))
    machine, build = fingerprint(ORIGIN["machine"]), fingerprint(ORIGIN["build"])
    found = store.speeds(subject_of(make_row()), machine=machine, build=build)
    assert found == pytest.approx(speeds[::-1])
    assert store.speeds(subject_of(make_row()), machine=machine, build=build, excluded=runs[:2]) == pytest.approx([99.0])


def test_a_subject_is_the_test_not_the_machine_or_the_speed() -> None:
    row = make_row()
    assert subject_of(row) == subject_of(make_row(noisy(5, 1), model="/other/name.gguf", when="2027-01-01T00:00:00Z"))
    for other in (
        {"n_threads": 3},
        {"n_gen": 17},
        {"n_depth": 1},
        {"n_parallel": 2},
        {"type_k": "q8_0"},
        {"workload": "latency"},
    ):
        assert subject_of(row) != subject_of(make_row(**other)), other


def test_a_subject_is_that_of_versions_without_the_later_columns() -> None:
    row = make_row()
    later = ("rpc", "image", "mmproj", "draft", "prompt_cache")
    assert subject_of(row) == subject_of({name: value for name, value in row.items() if name not in later})
    assert json.loads(subject_of(row))[-1] == row["kernels"]
    for changed in ({"draft": "auto"}, {"prompt_cache": True}, {"image": "64x64"}, {"rpc": "a:1"}):
        assert subject_of({**row, **changed}) != subject_of(row), changed


def test_two_programs_at_once(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[2] / "support"), *sys.path]!r}
from pathlib import Path
from llamacli.store.benchmarks.history import History
from measured_rows import make_row, save
opened = History(Path({str(tmp_path / "h" / "history.db")!r}))
for _ in range(20):
    save(opened, make_row())
"""
    programs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [program.wait() for program in programs] == [0, 0, 0]
    with closing(History(tmp_path / "h" / "history.db")) as opened:
        assert sorted(run.id for run in opened.runs()) == list(range(1, 61))


def test_a_newer_version_and_an_invalid_database(tmp_path: Path) -> None:
    newer = tmp_path / "newer.db"
    with closing(sqlite3.connect(newer)) as database:
        database.execute("pragma user_version = 99")
    with pytest.raises(LlamacliError, match="created by a newer llamacli"):
        History(newer)
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 100)
    with pytest.raises(LlamacliError, match="not a database"):
        History(broken)
    with pytest.raises(LlamacliError, match="--no-save"):
        History(Path("/proc/nowhere/history.db"))


# --- provenance ----------------------------------------------------------------------------------------------------------


def test_command_line_has_the_options_that_differ_from_defaults() -> None:
    groups = (
        WorkOptions(model=(("a b.gguf", "c"),), n_prompt=((64, 128), (256,)), prompt_gen=((64, 16),), latency=True),
        SetupOptions(flash_attn=(("on", "off"),), repack=((False, True),), device=((("CUDA0", "CUDA1"), ("none",)),)),
        PlanOptions(repetitions=9),
    )
    line = command_line(groups)
    for part in ("'a b.gguf,c'", "64,128", "256", "64,16", "on,off", "0,1", "CUDA0/CUDA1,none", "9", "--latency"):
        assert part in line
    assert "--delay" not in line
    assert line.startswith("llamacli bench -")
    assert invoke(*line.split()[1:4], "--help").status == 0


def test_origin_names_machine_build_and_model(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "not.gguf").write_bytes(b"nothing")
    origin = describe_origin(
        describe_build(), [str(tiny_model), str(tiny_model), str(tmp_path / "not.gguf"), "/nowhere.gguf"], version="1.0"
    )
    assert set(origin) == {"machine", "build", "system", "models"}
    assert list(origin["models"]) == [str(tiny_model)]
    assert len(origin["models"][str(tiny_model)]["header_sha256"]) == 64
    assert origin["machine"]["cores"] >= 1
    assert origin["machine"]["memory"] > 1 << 28
    assert json.loads(json.dumps(origin)) == origin
    assert fingerprint(origin["machine"]) == fingerprint(describe_origin(describe_build(), version="1.0")["machine"])


def test_store_run_stores_what_the_commands_find(tiny_model: Path) -> None:
    number = store_run([make_row(model=str(tiny_model))], (WorkOptions(n_prompt=((64,),)), PlanOptions()), describe_build())
    document = json.loads(invoke("bench", "show", str(number), "--json").stdout)
    assert document["options"]["n_prompt"] == [[64]]
    assert document["command"].endswith(" 64")
    assert document["origin"]["models"][str(tiny_model)]["file"] == "tiny.gguf"
    here = json.loads(invoke("bench", "history", "--here", "--json").stdout)
    assert [run["id"] for run in here["data"]] == [number]


# --- commands ------------------------------------------------------------------------------------------------------------


def test_listing_does_not_create_a_history() -> None:
    result = invoke("bench", "history")
    assert (result.status, "`llamacli bench` runs and stores one" in result.stdout) == (0, True)
    assert json.loads(invoke("bench", "history", "--json").stdout) == {"object": "list", "data": []}
    assert not history.database_path().exists()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_history_fits_the_width(width: int) -> None:
    stored(make_row(noisy(370, 1), n_prompt=64), make_row(noisy(98, 2)), make_row((), error="no memory", n_depth=4096))
    stored(make_row(noisy(98, 2), model="/models/" + "very-long-name-" * 5 + ".gguf"), interrupted=True)
    result = invoke("bench", "history", width=width)
    assert result.status == 0
    assert max(map(len, result.stdout.splitlines())) <= width
    assert "tg16" in result.stdout
    if width == 200:
        assert "pp64 3" in result.stdout
        assert "tg16 @ d4096 failed" in result.stdout
        assert "(interrupted)" in result.stdout


def test_history_filters_and_limits() -> None:
    for model in ("one", "two", "two"):
        stored(make_row(model=f"/models/{model}.gguf"))
    numbers = lambda *options: [  # noqa: E731
        run["id"] for run in json.loads(invoke("bench", "history", "--json", *options).stdout)["data"]
    ]
    assert numbers() == [3, 2, 1]
    assert numbers("--model", "TWO") == [3, 2]
    assert numbers("--limit", "1") == [3]
    assert numbers("--limit", "0", "--test", "tg") == [3, 2, 1]
    assert numbers("--limit", "99999999999999999999") == [3, 2, 1]
    assert numbers("--test", "pp") == []
    assert numbers("--here") == []


@pytest.mark.parametrize("width", [40, 80, 200])
def test_show_fits_the_width(width: int) -> None:
    number = stored(make_row(noisy(370, 1), n_prompt=64), make_row(noisy(98, 2)))
    result = invoke("bench", "show", str(number), width=width)
    assert result.status == 0
    assert max(map(len, result.stdout.splitlines())) <= width
    assert "llamacli bench -p 64" in " ".join(result.stdout.split())
    assert "AMD EPYC" in result.stdout
    assert "pp64" in result.stdout
    assert "\x1b" not in result.stdout


def test_show_json_is_read_by_compare(tmp_path: Path) -> None:
    number = stored(make_row(noisy(370, 1), n_prompt=64))
    path = tmp_path / "run.json"
    path.write_text(invoke("bench", "show", "last", "--json").stdout)
    assert invoke("bench", "compare", str(number), str(path)).status == 0


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "md", "sql"])
def test_export_has_the_rows_of_all_runs(form: str, tmp_path: Path) -> None:
    one, two = stored(make_row(noisy(370, 1), n_prompt=64)), stored(make_row(noisy(98, 2)))
    text = invoke("bench", "export", str(one), str(two), "-o", form).stdout
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["n_prompt"] for row in rows] == ["64", "0"]
    elif form == "md":
        assert text.count("llama 256M Q4_1") == 2
    elif form == "sql":
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript(text)
            assert database.execute("select n_prompt from llama_bench order by rowid").fetchall() == [(64,), (0,)]
    else:
        rows = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
        assert [row["test"] for row in rows] == ["pp64", "tg16"]
        path = tmp_path / "both"
        path.write_text(text)
        assert invoke("bench", "compare", str(path), str(one)).status == 0


def test_rm_forgets_runs() -> None:
    one, two, three = (stored(make_row()) for _ in range(3))
    assert invoke("bench", "rm", str(one), "99").status == 2
    result = invoke("bench", "rm", str(one), "last", str(three))
    assert (result.status, result.stderr) == (0, "llamacli: removed 2 runs\n")
    assert [run["id"] for run in json.loads(invoke("bench", "history", "--json").stdout)["data"]] == [two]


@pytest.mark.parametrize("name", ["show", "export", "rm"])
def test_invalid_runs(name: str) -> None:
    stored(make_row())
    for text, reason in (
        ("7", "unknown run 7"),
        ("first", "invalid run 'first'"),
        ("last~1", "only 1 stored"),
        ("-1", ""),
    ):
        result = invoke("bench", name, text)
        assert result.status == 2, text
        assert reason in result.stderr


def test_control_characters_in_names_are_escaped() -> None:
    number = stored(make_row(noisy(98, 2), model="/models/\x1b[2J.gguf"))
    for words in (("history",), ("show", str(number))):
        for width in (40, 80, 200):
            assert "\x1b" not in invoke("bench", *words, width=width).stdout


def test_numbers_are_completed(capfd: pytest.CaptureFixture[str]) -> None:
    assert print_candidates(["runs", ""]) == 0
    assert capfd.readouterr().out == ""
    assert not history.database_path().exists()
    one = stored(make_row([100.0] * 3), make_row((), error="no memory", n_prompt=64))
    print_candidates(["runs", ""])
    assert capfd.readouterr().out == f"last\tthe last run\n{one}\tsmall.gguf: tg16 100.0\n"
    print_candidates(["runs", "la"])
    assert capfd.readouterr().out == "last\tthe last run\n"
