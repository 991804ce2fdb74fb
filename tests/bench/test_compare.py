"""`llamacli bench compare`: files, stored runs and rows of them; verdicts as text, as JSON and as an exit status."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import invoke
from measured_rows import MACHINE, ORIGIN, make_row, noisy

from llamacli.bench.compare.runs import BenchRun, RunGroup, compare_benchmarks, name_of, speeds, subject_of
from llamacli.errors import UsageError
from llamacli.store.benchmarks.history import History, NewRow

STEADY = {"deviation": 0.002, "count": 5}


def store(*rows: dict[str, Any], origin: dict[str, Any] = ORIGIN) -> int:
    with closing(History()) as history:
        new = [NewRow(subject_of(row), row) for row in rows]
        return history.save(new, origin=origin, command="llamacli bench", options={})


def written(path: Path, rows: list[dict[str, Any]], *, lines: bool = False) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows))
    return str(path)


def llama_bench(row: dict[str, Any]) -> dict[str, Any]:
    """The row as llama-bench itself writes it."""
    return {name: row[name] for name in list(row)[: list(row).index("samples_ts") + 1]}


def both(path: Path, factor: float) -> tuple[str, str]:
    before = [make_row(noisy(370, 1, **STEADY), n_prompt=64), make_row(noisy(98, 2, **STEADY), n_gen=16)]
    after = [
        make_row([factor * speed for speed in noisy(370, 3, **STEADY)], n_prompt=64),
        make_row(noisy(98, 4, **STEADY), n_gen=16),
    ]
    return written(path / "before.json", before), written(path / "after.jsonl", after, lines=True)


# --- verdicts ------------------------------------------------------------------------------------------------------------


def test_files_are_compared_test_by_test(tmp_path: Path) -> None:
    first, second = both(tmp_path, 0.9)
    result = invoke("bench", "compare", first, second, width=100)
    assert result.status == 0
    assert "slower by 10." in result.stdout
    assert "no difference shown" in result.stdout
    assert "build: 0c1e57098\n" in result.stdout
    assert "machine: AMD EPYC\n" in result.stdout


def test_json_has_everything(tmp_path: Path) -> None:
    first, second = both(tmp_path, 0.9)
    document = json.loads(invoke("bench", "compare", first, second, "--json").stdout)
    assert (document["first"], document["second"], document["same_machine"]) == (first, second, True)
    pp, tg = document["tests"]
    assert (pp["test"], pp["verdict"], pp["method"], pp["units"]) == ("pp64", "slower", "runs", [1, 1])
    assert pp["ratio"] == pytest.approx(0.9, abs=0.01)
    assert pp["interval"][0] < pp["ratio"] < pp["interval"][1] < 1
    assert (tg["verdict"], tg["needed"]) == ("no difference shown", None)


@pytest.mark.parametrize(("factor", "percentage", "status"), [(0.9, "5", 8), (0.9, "15%", 0), (1.1, "1", 0), (1.0, "5", 0)])
def test_gate(tmp_path: Path, factor: float, percentage: str, status: int) -> None:
    result = invoke("bench", "compare", *both(tmp_path, factor), "--fail-if-slower", percentage)
    assert result.status == status
    assert ("slower by 5 % or more: pp64" in result.stderr) == (status == 8)
    assert "VERDICT" in result.stdout


def test_gate_warns_if_the_result_is_uncertain(tmp_path: Path) -> None:
    first = written(tmp_path / "a.json", [make_row(noisy(100, 1, deviation=0.1))])
    second = written(tmp_path / "b.json", [make_row(noisy(97, 2, deviation=0.1))])
    result = invoke("bench", "compare", first, second, "--fail-if-slower", "3")
    assert result.status == 0
    assert "warning: too noisy to tell whether these are slower by 3 %: tg16" in result.stderr


@pytest.mark.parametrize("percentage", ["-1", "100", "fast", "nan"])
def test_gate_accepts_only_percentages(percentage: str) -> None:
    assert invoke("bench", "compare", "a", "b", "--fail-if-slower", percentage).status == 2


# --- references and matching ---------------------------------------------------------------------------------------------


def test_stored_runs_and_last() -> None:
    one = store(make_row(noisy(100, 1, **STEADY)))
    two = store(make_row(noisy(80, 2, **STEADY)))
    by_number = invoke("bench", "compare", str(one), str(two), width=90)
    assert f"A: run {one}\nB: run {two}\n" in by_number.stdout
    assert "slower by 20" in by_number.stdout
    assert invoke("bench", "compare", "last~1", "last", width=90).stdout == by_number.stdout


def test_rows_of_llama_bench_are_compared_with_ours(tmp_path: Path) -> None:
    theirs = written(tmp_path / "theirs.json", [llama_bench(make_row(noisy(100, 1, **STEADY)))])
    for kernels, differing in (("upstream", {}), ("own", {"kernels": ["upstream", "own"]})):
        ours = written(tmp_path / "ours.json", [make_row(noisy(100, 2, **STEADY), kernels=kernels)])
        document = json.loads(invoke("bench", "compare", theirs, ours, "--json").stdout)
        assert [test["test"] for test in document["tests"]] == ["tg16"]
        assert document["differing"] == differing


def test_a_setting_with_one_value_on_each_side_is_the_subject(tmp_path: Path) -> None:
    slow = written(tmp_path / "a.json", [make_row(noisy(50, 1, **STEADY), n_threads=1), make_row(noisy(90, 1), n_prompt=8)])
    fast = written(tmp_path / "b.json", [make_row(noisy(95, 2, **STEADY), n_threads=2)])
    rows = json.loads(Path(slow).read_text())
    rows[1]["n_threads"] = 1
    Path(slow).write_text(json.dumps(rows))
    document = json.loads(invoke("bench", "compare", slow, fast, "--json").stdout)
    assert document["differing"] == {"n_threads": ["1", "2"]}
    assert [test["test"] for test in document["tests"]] == ["tg16"]
    assert document["left_out"] == ["pp8"]
    assert document["tests"][0]["verdict"] == "faster"


def test_models_are_identified_by_their_properties_not_by_file_names(tmp_path: Path) -> None:
    row = make_row(noisy(100, 1, **STEADY))
    moved = row | {"model_filename": "/elsewhere/other.gguf"}
    other = row | {"model_type": "llama 256M Q8_0", "model_size": 1}
    first = written(tmp_path / "a.json", [row])
    same = json.loads(invoke("bench", "compare", first, written(tmp_path / "b.json", [moved]), "--json").stdout)
    assert same["differing"] == {}
    differs = json.loads(invoke("bench", "compare", first, written(tmp_path / "c.json", [other]), "--json").stdout)
    assert differs["differing"] == {"model": ["llama 256M Q4_1", "llama 256M Q8_0"]}


def test_a_grid_is_matched_by_its_settings() -> None:
    grid = [make_row(noisy(speed, 1, **STEADY), n_threads=count) for count, speed in ((1, 50), (2, 95), (4, 180))]
    slower = [make_row([0.9 * speed for speed in row["samples_ts"]], n_threads=row["n_threads"]) for row in grid]
    comparison = compare_benchmarks(RunGroup("a", (BenchRun(tuple(grid)),)), RunGroup("b", (BenchRun(tuple(slower)),)))
    assert [test.test for test in comparison.tests] == ["tg16, threads 1", "tg16, threads 2", "tg16, threads 4"]
    assert {test.outcome.verdict for test in comparison.tests} == {"slower"}
    assert comparison.tests[0].outcome.level == pytest.approx(1 - 0.01 / 3)


def test_rows_of_one_run_are_compared_as_rounds() -> None:
    number = store(
        make_row(noisy(100, 1, count=30), n_threads=1),
        make_row(noisy(90, 2, count=30), n_threads=2, when="2026-05-01T12:00:01Z"),
    )
    for first, second in ((":1", ":2"), (":n_threads=1", ":n_threads=2")):
        document = json.loads(invoke("bench", "compare", f"{number}{first}", f"last{second}", "--json").stdout)
        (test,) = document["tests"]
        assert (test["method"], test["units"], test["verdict"]) == ("rounds", [30, 30], "slower")
        assert document["differing"] == {"n_threads": ["1", "2"]}


def test_two_disjoint_samples_are_told_apart() -> None:
    number = store(make_row([31.6, 20.1], n_threads=1), make_row([0.14, 0.14], n_threads=2, when="2026-05-01T12:00:01Z"))
    (test,) = json.loads(invoke("bench", "compare", f"{number}:1", f"{number}:2", "--json").stdout)["tests"]
    assert (test["method"], test["verdict"], test["needed"]) == ("rounds", "slower", None)
    assert 1e-4 < test["interval"][0] < test["interval"][1] < 0.2


def test_consecutive_rows_of_one_run_are_not_compared_as_rounds() -> None:
    number = store(
        make_row(noisy(1, 1, count=9), n_threads=1), make_row(noisy(1, 2, count=9), n_threads=2, when="2026-05-01T12:09:00Z")
    )
    document = json.loads(invoke("bench", "compare", f"{number}:1", f"{number}:2", "--json").stdout)
    assert document["tests"][0]["method"] == "runs"


def test_alternating_runs_are_compared_in_pairs(tmp_path: Path) -> None:
    numbers = [
        store(
            make_row(
                noisy((100 if place % 2 else 103) * 0.97 ** (place // 2), place, **STEADY), when=f"2026-05-01T12:{place:02}:00Z"
            )
        )
        for place in range(16)
    ]
    first, second = "+".join(map(str, numbers[::2])), "+".join(map(str, numbers[1::2]))
    document = json.loads(invoke("bench", "compare", first, second, "--json").stdout)
    (test,) = document["tests"]
    assert (test["method"], test["units"], test["verdict"]) == ("paired runs", [8, 8], "slower")
    assert document["first"] == f"runs {first}"
    apart = "+".join(map(str, numbers[:8])), "+".join(map(str, numbers[8:]))
    assert json.loads(invoke("bench", "compare", *apart, "--json").stdout)["tests"][0]["method"] == "runs"


def test_history_of_this_machine_is_used_without_the_compared_runs() -> None:
    for seed in range(9):
        store(make_row(noisy(100 * (1 + 0.05 * (-1) ** seed), seed, **STEADY)))
    store(make_row(noisy(100, 10, **STEADY)))
    store(make_row(noisy(95, 11, **STEADY)))
    document = json.loads(invoke("bench", "compare", "last~1", "last", "--json").stdout)
    assert document["tests"][0]["verdict"] == "too noisy to tell"
    assert document["tests"][0]["drift"] == pytest.approx(0.042, abs=0.01)


def test_earlier_steady_runs_sharpen_the_verdict(tmp_path: Path) -> None:
    rows = [make_row(noisy(speed, seed, deviation=0.02)) for seed, speed in ((1, 100), (2, 95))]
    files = [written(tmp_path / f"{number}.json", [row]) for number, row in enumerate(rows)]
    alone = json.loads(invoke("bench", "compare", *files, "--json").stdout)["tests"][0]
    for seed in range(12):
        store(make_row(noisy(100, seed, deviation=0.003)))
    for row in rows:
        store(row)
    known = json.loads(invoke("bench", "compare", "last~1", "last", "--json").stdout)["tests"][0]
    assert known["drift"] < 0.6 * alone["drift"]
    assert (alone["verdict"], known["verdict"]) == ("too noisy to tell", "slower")


# --- different machines, builds ------------------------------------------------------------------------------------------


def test_different_machines_are_named(tmp_path: Path) -> None:
    other = replace(MACHINE, cpu_info="Intel Xeon", build_commit="abc")
    first = written(tmp_path / "a.json", [make_row(noisy(100, 1, **STEADY))])
    second = written(tmp_path / "b.json", [make_row(noisy(100, 2, **STEADY), machine=other)])
    result = invoke("bench", "compare", first, second, width=90)
    assert "different machines: AMD EPYC -> Intel Xeon\n" in result.stdout
    assert "build: 0c1e57098 -> abc\n" in result.stdout


def test_machines_with_equal_names_are_distinguished_by_fingerprints() -> None:
    store(make_row(noisy(100, 1, **STEADY)))
    store(make_row(noisy(100, 2, **STEADY)), origin=ORIGIN | {"machine": ORIGIN["machine"] | {"cores": 64}})
    document = json.loads(invoke("bench", "compare", "last~1", "last", "--json").stdout)
    assert document["same_machine"] is False
    assert len(set(document["machines"])) == 2


# --- errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("[]", "has no rows"),
        ("not json", "invalid JSON at line 1"),
        ('{"n_prompt": 1, "n_gen": 0, "avg_ts": 5}\n{broken', "invalid JSON at line 2"),
        ("[1]", "row 1 is not an object"),
        ('[{"n_gen": 1}]', "row 1 has no n_prompt"),
        ('[{"n_prompt": 1, "n_gen": 1}]', "neither samples_ts nor avg_ts"),
        ('[{"n_prompt": 1, "n_gen": 1, "samples_ts": [1, NaN]}]', "NaN is not a JSON value"),
        (
            '{"n_prompt": 1, "n_gen": 1, "avg_ts": 1}\n{"n_prompt": 1, "avg_ts": -Infinity}',
            "line 2, column 27: -Infinity is not a JSON value",
        ),
        ('[{"n_prompt": 1, "n_gen": 1, "samples_ts": [1, -2]}]', "must be positive numbers"),
        ('[{"n_prompt": 1, "n_gen": 1, "samples_ts": "fast"}]', "must be positive numbers"),
        ('[{"n_prompt": 1, "n_gen": 1, "samples_ts": [true]}]', "must be positive numbers"),
        ("[" * 100_000, "nested more than 500 deep"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    good = written(tmp_path / "good.json", [make_row()])
    result = invoke("bench", "compare", good, str(path))
    assert result.status == 2
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1


def test_invalid_references_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    number = store(make_row())
    for side, reason in (
        ("99", "unknown run 99"),
        ("last~5", "only 1 stored run"),
        ("nothing.json", "no run or file 'nothing.json' found"),
        (str(tmp_path), "cannot read"),
        (str(tmp_path / "binary"), "is not UTF-8 text"),
        (f"{number}:2", "row 2 does not exist, only rows 1 to 1"),
        (f"{number}:color=red", "with a column of the rows"),
        (f"{number}:n_threads=99", "no rows match"),
        (f"{number}+", "no run or file"),
        ("long" * 2000, "no run or file"),
        ("", "no run or file"),
    ):
        result = invoke("bench", "compare", str(number), side)
        assert result.status == 2, side
        assert reason in result.stderr, side


def test_without_a_history() -> None:
    result = invoke("bench", "compare", "last~1", "last")
    assert result.status == 2
    assert "no stored runs" in result.stderr


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"n_prompt": 64}, "one has tg16; the other has pp64"),
        ({"n_gen": 16, "error": "out of memory"}, "the other has no successful test"),
    ],
)
def test_no_common_tests(tmp_path: Path, other: dict[str, Any], reason: str) -> None:
    first = written(tmp_path / "a.json", [make_row()])
    second = written(tmp_path / "b.json", [make_row((), **other) if "error" in other else make_row(**other)])
    result = invoke("bench", "compare", first, second)
    assert result.status == 2
    assert "have no test in common" in result.stderr
    assert reason in result.stderr


def test_no_common_tests_in_grids_that_differ_in_two_settings() -> None:
    one = tuple(make_row(n_threads=count, n_batch=512) for count in (1, 2))
    two = tuple(make_row(n_threads=count, n_batch=512) for count in (4, 8))
    with pytest.raises(UsageError, match="differ in model, threads"):
        compare_benchmarks(RunGroup("a", (BenchRun(one),)), RunGroup("b", (BenchRun(two),)))


def test_single_samples_have_no_interval(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name, [make_row([speed])]) for name, speed in (("a", 100.0), ("b", 50.0)))
    result = invoke("bench", "compare", first, second, "--fail-if-slower", "1", width=90)
    assert result.status == 0
    assert "unknown" in result.stdout
    assert "A single sample says nothing about the noise" in result.stdout


def test_rows_without_samples_use_their_mean() -> None:
    row = make_row(noisy(100, 1))
    assert speeds({name: value for name, value in row.items() if name not in ("samples_ts", "samples_ns")}) == (row["avg_ts"],)
    assert speeds(make_row((), error="out of memory")) == ()
    assert name_of({"n_prompt": 512, "n_gen": 128, "n_depth": 4096}) == "pp512+tg128 @ d4096"


# --- output --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_output_fits_the_width(width: int) -> None:
    rows = [make_row(noisy(370, 1), n_prompt=512, n_depth=depth) for depth in (0, 16384)]
    first, second = str(store(*rows)), str(store(*rows))
    result = invoke("bench", "compare", first, second, width=width)
    assert result.status == 0
    assert max(map(len, result.stdout.splitlines())) <= width
    assert ("VERDICT" in result.stdout) == (width > 40)
    assert "\x1b" not in result.stdout


def test_long_names_do_not_fit_a_table(tmp_path: Path) -> None:
    rows = [
        make_row(noisy(370, 1), n_prompt=512, n_depth=depth, type_k=kind) for depth in (0, 16384) for kind in ("f16", "q8_0")
    ]
    path = tmp_path / "a-very-long-name-for-a-file-of-benchmarks-that-somebody-has-made-yesterday.json"
    result = invoke("bench", "compare", written(path, rows), str(path), width=60)
    assert "VERDICT" not in result.stdout
    assert "pp512 @ d16384, type_k q8_0\n  " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 60


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    result = invoke("bench", "compare", *both(tmp_path, 0.9), "--color", "always", width=100)
    assert "\x1b[31mslower by" in result.stdout


def test_control_characters_in_names_are_escaped(tmp_path: Path) -> None:
    row = make_row(noisy(100, 1)) | {"test": "tg16\x1b[2J", "model_type": "x\x1b]0;y\x07"}
    first = written(tmp_path / "a\x1b[31m.json", [row])
    assert "\x1b" not in invoke("bench", "compare", first, first).stdout
