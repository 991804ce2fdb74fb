"""The comparison of benchmark runs test by test. Rows have llama-bench's columns, whichever program wrote them."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from llamacli.bench.compare.compare import RESOLUTION, Drift, Order, Outcome, compare_rounds, compare_runs, level_for
from llamacli.bench.measure.rows import LLAMA_BENCH_COLUMNS, Row
from llamacli.errors import UsageError

_RESULT_COLUMNS = {
    "build_commit", "build_number", "cpu_info", "gpu_info", "backends", "model_filename", "model_type", "model_size",
    "model_n_params", "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts",
}  # fmt: skip
_DEFAULTS: Final = {
    "workload": "speed", "n_parallel": 1, "kernels": "upstream", "loras": "", "rpc": "", "image": "", "mmproj": "",
    "draft": "off", "prompt_cache": False,
}  # fmt: skip
"""Our own columns that describe a test, with the values that hold for llama-bench."""

_LATER: Final = ("loras", "rpc", "image", "mmproj", "draft", "prompt_cache")
"""The last of these columns, which histories of earlier versions lack: a subject ends before those with their defaults."""

PARAMETERS: Final = (*(name for name in LLAMA_BENCH_COLUMNS if name not in _RESULT_COLUMNS), *_DEFAULTS)
"""The columns that describe a test, without its model."""

MODEL: Final = "model"
"""The name for the three columns that identify a model: the file name does not matter."""

_SHAPE = ("n_prompt", "n_gen", "workload", "image")
"""Columns that cannot be compared: tests with other values are different tests."""

_MACHINE = ("cpu_info", "gpu_info")
_MODEL_COLUMNS = ("model_type", "model_size", "model_n_params")
_ROUND_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class BenchRun:
    """The rows of one run. `stored` is its number in the history, None for a file, which has no fingerprints either."""

    rows: tuple[Row, ...]
    stored: int | None = None
    machine: str = ""
    build: str = ""


@dataclass(frozen=True, slots=True)
class RunGroup:
    """One side of a comparison: a label and its runs."""

    label: str
    runs: tuple[BenchRun, ...]


@dataclass(frozen=True, slots=True)
class ComparedTest:
    """A test that both sides have. `first` and `second` are their speeds in tokens per second, medians over runs.

    `rows` are the last row of each side.
    """

    test: str
    first: float
    second: float
    outcome: Outcome
    rows: tuple[Row, Row]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result. `differing`: parameters (or the model) in which the sides differ as a whole, with both values.

    `models`, `builds` and `machines` are names; `same_machine` takes the fingerprints into account. `left_out` are tests that
    only one side has, or that failed there.
    """

    labels: tuple[str, str]
    tests: tuple[ComparedTest, ...]
    differing: Mapping[str, tuple[str, str]]
    models: tuple[str, str]
    builds: tuple[str, str]
    machines: tuple[str, str]
    same_machine: bool
    left_out: tuple[str, ...]
    resolution: float

    def slower_by(self, share: float) -> list[ComparedTest]:
        """Return the tests that are surely slower, by that share or more."""
        return [one for one in self.tests if one.outcome.verdict == "slower" and one.outcome.ratio <= 1 - share]


RecallDrift = Callable[[BenchRun, Row], Drift | None]
"""A function that returns the drift between runs of a row's test, as known from the history, or None."""


def subject_of(row: Row) -> str:
    """Return the subject of a row, its test and model as text. Rows with equal ones differ only by machine, build and noise."""
    names = list(PARAMETERS)
    while names[-1] in _LATER and _value(row, names[-1]) == _DEFAULTS[names[-1]]:
        names.pop()
    return json.dumps([_model(row), *(_value(row, name) for name in names)], ensure_ascii=False)


def name_of(row: Row) -> str:
    """Return the name of a test, such as `pp512`, `tg128 x4` or `pp512+tg128 @ d4096`; llama-bench's rows lack that column."""
    if row.get("test"):
        return str(row["test"])
    parts = [f"{mark}{row[name]}" for mark, name in (("pp", "n_prompt"), ("tg", "n_gen")) if row.get(name)]
    depth = f" @ d{row['n_depth']}" if row.get("n_depth") else ""
    return "+".join(parts) + depth


def speeds(row: Row) -> tuple[float, ...]:
    """Return the samples of a row in tokens per second: only its mean if it has no samples, none if the test failed."""
    if row.get("error"):
        return ()
    samples = row.get("samples_ts") or ([row["avg_ts"]] if row.get("avg_ts") else [])
    return tuple(float(speed) for speed in samples if speed > 0)


def compare_benchmarks(
    first: RunGroup, second: RunGroup, *, recall: RecallDrift | None = None, resolution: float = RESOLUTION
) -> Comparison:
    """Compare the tests that both have in common.

    A parameter with a single value on each side, and a different one, is the subject of the comparison; tests are matched by
    all others.

    Raises:
        UsageError: if they have no test in common.
    """
    one, two = ([(run, row) for run in side.runs for row in run.rows if speeds(row)] for side in (first, second))
    names = [name for name in (MODEL, *PARAMETERS) if all(_known(row, name) for _, row in one + two)]
    differing = _differing(names, [row for _, row in one], [row for _, row in two])
    names = [name for name in names if name not in differing]
    before, after = _by_test(one, names), _by_test(two, names)
    common = [test for test in before if test in after]
    if not common:
        raise UsageError(f"{first.label} and {second.label} have no test in common", hint=_no_common_test(one, two))
    varying = [name for index, name in enumerate(names) if len({test[index] for test in common}) > 1]
    level = level_for(len(common))
    tests = tuple(
        ComparedTest(
            _label(before[test][0][1], varying),
            _median_speed(before[test]),
            _median_speed(after[test]),
            _outcome(before[test], after[test], recall, level, resolution),
            (before[test][-1][1], after[test][-1][1]),
        )
        for test in common
    )
    everything = [row for side in (first, second) for run in side.runs for row in run.rows]
    compared = {id(row) for test in common for _, row in before[test] + after[test]}
    return Comparison(
        (first.label, second.label),
        tests,
        differing,
        (_names(one, "model_type"), _names(two, "model_type")),
        (_names(one, "build_commit"), _names(two, "build_commit")),
        *_machines(one, two),
        tuple(dict.fromkeys(_label(row, varying) for row in everything if id(row) not in compared)),
        resolution,
    )


_Rows = list[tuple[BenchRun, Row]]


def _outcome(first: _Rows, second: _Rows, recall: RecallDrift | None, level: float, resolution: float) -> Outcome:
    if len(first) == len(second) == 1 and _shared_rounds(first[0], second[0]):
        return compare_rounds(speeds(first[0][1]), speeds(second[0][1]), level=level, resolution=resolution)
    history: dict[str, Drift] = {}
    if recall is not None:
        for run, row in first[:1] + second[:1]:
            drift = recall(run, row)
            if drift is not None:
                history[f"{run.machine} {row.get('build_commit')} {subject_of(row)}"] = drift
    one, two = _by_time(first), _by_time(second)
    return compare_runs(
        [speeds(row) for _, row in one],
        [speeds(row) for _, row in two],
        order=_order(one, two),
        history=list(history.values()),
        level=level,
        resolution=resolution,
    )


def _shared_rounds(first: tuple[BenchRun, Row], second: tuple[BenchRun, Row]) -> bool:
    """Return whether two rows were interleaved in one stored run: the later one then started before the other was half done."""
    (run, early), (other, late) = sorted((first, second), key=lambda one: _time(one[1]))
    if run.stored is None or run.stored != other.stored:
        return False
    seconds = sum(early.get("samples_ns") or ()) / 1e9
    return _time(late) - _time(early) < max(_ROUND_SECONDS, seconds / 2)


def _order(first: _Rows, second: _Rows) -> Order:
    """Return the order in time of the runs of both sides, each sorted by time."""
    one, two = ([_time(row) for _, row in rows] for rows in (first, second))
    if one[-1] <= two[0] or two[-1] <= one[0]:
        return "apart"
    if len(one) == len(two):
        pairs = [sorted(pair) for pair in zip(one, two, strict=True)]
        if all(before[1] <= after[0] for before, after in itertools.pairwise(pairs)):
            return "alternating"
    return "mixed"


def _by_time(rows: _Rows) -> _Rows:
    return sorted(rows, key=lambda one: _time(one[1]))


def _time(row: Row) -> float:
    """Return the start of a test in seconds since 1970, 0 if unknown."""
    try:
        return datetime.fromisoformat(str(row.get("test_time", ""))).timestamp()
    except ValueError:
        return 0.0


def _by_test(rows: _Rows, names: Sequence[str]) -> dict[tuple[Any, ...], _Rows]:
    found: dict[tuple[Any, ...], _Rows] = {}
    for run, row in rows:
        found.setdefault(tuple(_value(row, name) for name in names), []).append((run, row))
    return found


def _differing(names: Sequence[str], first: Sequence[Row], second: Sequence[Row]) -> dict[str, tuple[str, str]]:
    found = {}
    for name in names:
        one, two = ({_value(row, name) for row in rows} for rows in (first, second))
        if name not in _SHAPE and len(one) == len(two) == 1 and one != two:
            found[name] = (_shown(first[0], name), _shown(second[0], name))
    return found


def _median_speed(rows: _Rows) -> float:
    return statistics.median(statistics.median(speeds(row)) for _, row in rows)


def _label(row: Row, varying: Sequence[str]) -> str:
    shown = [
        f"{name.removeprefix('n_')} {_shown(row, name)}" for name in varying if name not in (*_SHAPE, "n_depth", "n_parallel")
    ]
    return ", ".join([name_of(row), *shown])


def _shown(row: Row, name: str) -> str:
    return str(row.get("model_type") if name == MODEL else row.get(name, _DEFAULTS.get(name)))


def _known(row: Row, name: str) -> bool:
    return name in row or name in _DEFAULTS or name == MODEL


def _value(row: Row, name: str) -> Any:
    value = _model(row) if name == MODEL else row.get(name, _DEFAULTS.get(name))
    return int(value) if isinstance(value, bool) else value


def _model(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in _MODEL_COLUMNS)


def _names(rows: _Rows, *columns: str) -> str:
    """Return the distinct values of these columns, joined."""
    values = (", ".join(filter(None, (str(row.get(column) or "") for column in columns))) for _, row in rows)
    return "; ".join(dict.fromkeys(filter(None, values)))


def _machines(first: _Rows, second: _Rows) -> tuple[tuple[str, str], bool]:
    """Return the names of the machines, and whether they are the same machine; equal names of two get their fingerprints."""
    one, two = (_names(rows, *_MACHINE) for rows in (first, second))
    marks = [{run.machine for run, _ in rows if run.machine} for rows in (first, second)]
    same = one == two and (marks[0] == marks[1] or not all(marks))
    if one == two and not same:
        one, two = (f"{name} ({', '.join(sorted(mark))})" for name, mark in zip((one, two), marks, strict=True))
    return (one, two), same


def _no_common_test(first: _Rows, second: _Rows) -> str:
    """Return what the sides have instead of a common test."""
    one, two = (", ".join(dict.fromkeys(name_of(row) for _, row in rows)) or "no successful test" for rows in (first, second))
    return f"one has {one}; the other has {two}" if one != two else "they differ in model, threads, batch size or the like"
