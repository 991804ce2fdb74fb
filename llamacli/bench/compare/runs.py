"""Compares benchmark runs test by test: rows with llama-bench's columns, from wherever they come."""

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

_NO_PART_OF_A_TEST = {
    "build_commit", "build_number", "cpu_info", "gpu_info", "backends", "model_filename", "model_type", "model_size",
    "model_n_params", "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts",
}  # fmt: skip
_DEFAULTS: Final = {"workload": "speed", "n_parallel": 1}
"""Our own columns that belong to a test, with what llama-bench does."""

PARAMETERS: Final = (*(name for name in LLAMA_BENCH_COLUMNS if name not in _NO_PART_OF_A_TEST), *_DEFAULTS)
"""The columns that say what a test is, but for its model."""

MODEL: Final = "model"
"""Stands for the three columns that say which model it is: another file name does not make it another model."""

_SHAPE = ("n_prompt", "n_gen", "workload")
"""Tests that differ in these have nothing in common."""

_MACHINE = ("cpu_info", "gpu_info")
_MODEL_COLUMNS = ("model_type", "model_size", "model_n_params")
_TURN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """The rows of one run. `stored` is its number in the history, None for a file, which has no fingerprints either."""

    rows: tuple[Row, ...]
    stored: int | None = None
    machine: str = ""
    build: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared: what it is called, and its runs."""

    label: str
    runs: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """A test that both sides have. `first` and `second` are their speeds, medians over runs, in tokens per second."""

    test: str
    first: float
    second: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found. `differing`: parameters (or the model) in which the sides differ as a whole, with both values.

    `models`, `builds` and `machines` are names; `same_machine` knows about fingerprints, too. `left_out` are tests that only
    one side has, or that failed there.
    """

    labels: tuple[str, str]
    tests: tuple[Compared, ...]
    differing: Mapping[str, tuple[str, str]]
    models: tuple[str, str]
    builds: tuple[str, str]
    machines: tuple[str, str]
    same_machine: bool
    left_out: tuple[str, ...]
    resolution: float

    def slower_by(self, share: float) -> list[Compared]:
        """The tests that are slower beyond doubt, by that share or more."""
        return [one for one in self.tests if one.outcome.verdict == "slower" and one.outcome.ratio <= 1 - share]


RecallDrift = Callable[[Measurement, Row], Drift | None]
"""What the history says about the noise between runs of a row's test; `store.history` behind it, or nothing."""


def thing(row: Row) -> str:
    """What a row measured, whatever it was measured on: rows with the same one differ by machine, build and noise only."""
    return json.dumps([_model(row), *(_value(row, name) for name in PARAMETERS)], ensure_ascii=False)


def name_of(row: Row) -> str:
    """`pp512`, `tg128 x4`, `pp512+tg128 @ d4096`, also for rows of llama-bench, which have no such column."""
    if row.get("test"):
        return str(row["test"])
    parts = [f"{mark}{row[name]}" for mark, name in (("pp", "n_prompt"), ("tg", "n_gen")) if row.get(name)]
    depth = f" @ d{row['n_depth']}" if row.get("n_depth") else ""
    return "+".join(parts) + depth


def speeds(row: Row) -> tuple[float, ...]:
    """The samples of a row in tokens per second; its mean alone if there are none; nothing for one that failed."""
    if row.get("error"):
        return ()
    samples = row.get("samples_ts") or ([row["avg_ts"]] if row.get("avg_ts") else [])
    return tuple(float(speed) for speed in samples if speed > 0)


def compare_sides(
    first: Side, second: Side, *, recall: RecallDrift | None = None, resolution: float = RESOLUTION
) -> Comparison:
    """Compares what both have in common.

    A parameter that has one value on one side and another on the other is what is compared; tests are matched by all others.

    Raises:
        UsageError: they have no test in common.
    """
    one, two = ([(run, row) for run in side.runs for row in run.rows if speeds(row)] for side in (first, second))
    names = [name for name in (MODEL, *PARAMETERS) if all(_known(row, name) for _, row in one + two)]
    differing = _differing(names, [row for _, row in one], [row for _, row in two])
    names = [name for name in names if name not in differing]
    there, here = _by_test(one, names), _by_test(two, names)
    common = [test for test in there if test in here]
    if not common:
        raise UsageError(f"{first.label} and {second.label} have no test in common", hint=_what_they_have(one, two))
    varying = [name for place, name in enumerate(names) if len({test[place] for test in common}) > 1]
    level = level_for(len(common))
    tests = tuple(
        Compared(
            _label(there[test][0][1], varying),
            _middle(there[test]),
            _middle(here[test]),
            _outcome(there[test], here[test], recall, level, resolution),
        )
        for test in common
    )
    everything = [row for side in (first, second) for run in side.runs for row in run.rows]
    compared = {id(row) for test in common for _, row in there[test] + here[test]}
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


_Rows = list[tuple[Measurement, Row]]


def _outcome(first: _Rows, second: _Rows, recall: RecallDrift | None, level: float, resolution: float) -> Outcome:
    if len(first) == len(second) == 1 and _shared_rounds(first[0], second[0]):
        return compare_rounds(speeds(first[0][1]), speeds(second[0][1]), level=level, resolution=resolution)
    history: dict[str, Drift] = {}
    if recall is not None:
        for run, row in first[:1] + second[:1]:
            drift = recall(run, row)
            if drift is not None:
                history[f"{run.machine} {row.get('build_commit')} {thing(row)}"] = drift
    one, two = _by_time(first), _by_time(second)
    return compare_runs(
        [speeds(row) for _, row in one],
        [speeds(row) for _, row in two],
        order=_order(one, two),
        history=list(history.values()),
        level=level,
        resolution=resolution,
    )


def _shared_rounds(first: tuple[Measurement, Row], second: tuple[Measurement, Row]) -> bool:
    """Whether two rows took turns in one run of ours: then the later one began before the other was half done."""
    (run, early), (other, late) = sorted((first, second), key=lambda one: _time(one[1]))
    if run.stored is None or run.stored != other.stored:
        return False
    seconds = sum(early.get("samples_ns") or ()) / 1e9
    return _time(late) - _time(early) < max(_TURN_SECONDS, seconds / 2)


def _order(first: _Rows, second: _Rows) -> Order:
    """How the runs of both sides, each in order, lie in time."""
    one, two = ([_time(row) for _, row in rows] for rows in (first, second))
    if one[-1] <= two[0] or two[-1] <= one[0]:
        return "apart"
    if len(one) == len(two):
        pairs = [sorted(pair) for pair in zip(one, two, strict=True)]
        if all(before[1] <= after[0] for before, after in itertools.pairwise(pairs)):
            return "in turns"
    return "mixed"


def _by_time(rows: _Rows) -> _Rows:
    return sorted(rows, key=lambda one: _time(one[1]))


def _time(row: Row) -> float:
    """Seconds since 1970 at the start of a test, 0 where it does not say."""
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


def _middle(rows: _Rows) -> float:
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
    """What these columns say, each once."""
    said = (", ".join(filter(None, (str(row.get(column) or "") for column in columns))) for _, row in rows)
    return "; ".join(dict.fromkeys(filter(None, said)))


def _machines(first: _Rows, second: _Rows) -> tuple[tuple[str, str], bool]:
    """The names of the machines, and whether they are the same; equal names get their fingerprints if they are not."""
    one, two = (_names(rows, *_MACHINE) for rows in (first, second))
    marks = [{run.machine for run, _ in rows if run.machine} for rows in (first, second)]
    same = one == two and (marks[0] == marks[1] or not all(marks))
    if one == two and not same:
        one, two = (f"{name} ({', '.join(sorted(mark))})" for name, mark in zip((one, two), marks, strict=True))
    return (one, two), same


def _what_they_have(first: _Rows, second: _Rows) -> str:
    one, two = (", ".join(dict.fromkeys(name_of(row) for _, row in rows)) or "none that ended well" for rows in (first, second))
    return f"one has {one}; the other {two}" if one != two else "they differ in model, threads, batch or the like"
