"""The statistics of benchmarks against known values, and the reliability of verdicts on samples of a real machine."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamacli.bench.compare.compare import Drift, compare_rounds, compare_runs, level_for, observed_drift
from llamacli.bench.statistics import (
    bootstrap_interval,
    percentile,
    signed_rank_center,
    signed_rank_interval,
    student_quantile,
)

RECORDED = json.loads((Path(__file__).parents[1] / "data/bench_samples.json").read_text())
TESTS = ("pp64", "tg16")
COMPARISONS = 100
ROUNDS = 30
SLOWDOWN = 0.95
ALARMS = ("faster", "slower")


def speeds(durations: Sequence[float]) -> list[float]:
    return [1e6 / duration for duration in durations]


# --- known values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 63.657), (2, 9.925), (3, 5.841), (4, 4.604), (5, 4.032), (8, 3.355), (30, 2.750), (101, 2.625)],
)
def test_student_quantile_is_that_of_the_tables(degrees: int, quantile: float) -> None:
    assert student_quantile(0.995, degrees) == pytest.approx(quantile, abs=6e-4)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0, 1))
def test_percentile_is_numpys(samples: list[float], share: float) -> None:
    assert percentile(samples, share) == pytest.approx(float(np.percentile(samples, 100 * share)), rel=1e-9, abs=1e-6)


def test_signed_rank_interval_is_that_of_the_tables() -> None:
    """The critical values for n = 6, 8, 10 and 20 at 5 % are 0, 3, 8 and 52: that number of means is dropped at each end."""
    generator = random.Random(1)
    for count, critical in ((6, 0), (8, 3), (10, 8), (20, 52)):
        samples = [generator.gauss(1, 1) for _ in range(count)]
        means = sorted((samples[i] + samples[j]) / 2 for i in range(count) for j in range(i, count))
        assert signed_rank_interval(samples, 0.95) == (means[critical], means[-1 - critical])
        assert means[0] < signed_rank_center(samples) < means[-1]
    assert signed_rank_interval([1.0] * 5, 0.95) is None
    assert signed_rank_interval([1.0] * 7, 0.99) is None


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf]])
def test_invalid_samples_are_refused(samples: list[float]) -> None:
    for refusing in (bootstrap_interval, lambda values: percentile(values, 0.5)):
        with pytest.raises(ValueError, match="sample"):
            refusing(samples)
    with pytest.raises(ValueError, match="positive"):
        compare_rounds([1.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="positive"):
        compare_runs([[]], [[1.0]])


# --- bootstrap -----------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.lists(st.floats(1, 1e9), min_size=2, max_size=30))
def test_interval_contains_the_median_and_is_reproducible(samples: list[float]) -> None:
    interval = bootstrap_interval(samples)
    assert interval == bootstrap_interval(list(reversed(samples)))
    assert interval is not None
    assert min(samples) <= interval[0] <= statistics.median(samples) <= interval[1] <= max(samples)


@pytest.mark.parametrize("count", [5, 6, 20])
@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_interval_has_the_stated_coverage(count: int, statistic: str) -> None:
    """A skewed distribution. For the mean of few samples a 95 % interval may have a coverage of 87 %."""
    truth = math.log(2) if statistic == "median" else 1.0
    hits = 0
    for seed in range(150):
        generator = random.Random(seed)
        low, high = bootstrap_interval([generator.expovariate(1) for _ in range(count)], statistic)
        hits += low <= truth <= high
    assert hits >= 150 * (0.92 if statistic == "median" else 0.85)


def test_medians_drawn_in_one_step_are_those_of_resamples() -> None:
    generator = random.Random(3)
    samples = [generator.lognormvariate(0, 0.3) for _ in range(12)]
    drawn = sorted(statistics.median(generator.choices(samples, k=12)) for _ in range(20_000))
    reach = student_quantile(0.975, 11) * math.sqrt(12 / 11)
    tail = statistics.NormalDist().cdf(-reach)
    low, high = bootstrap_interval(samples)
    assert low == pytest.approx(percentile(drawn, tail), rel=0.02)
    assert high == pytest.approx(percentile(drawn, 1 - tail), rel=0.02)


def test_many_samples_take_no_time_and_give_a_narrow_interval() -> None:
    generator = random.Random(4)
    samples = [generator.gauss(100, 5) for _ in range(50_000)]
    for statistic in ("median", "mean"):
        low, high = bootstrap_interval(samples, statistic)
        assert low < 100.1
        assert high > 99.9
        assert high - low < 0.25


# --- verdicts on samples of a real machine -------------------------------------------------------------------------------


def rounds_of(sequence: Sequence[float], seed: int) -> tuple[list[float], list[float]]:
    """Samples of one long run as if two tests were interleaved, in random order within each pair."""
    generator = random.Random(seed)
    start = generator.randrange(len(sequence) - 2 * ROUNDS)
    window = speeds(sequence[start : start + 2 * ROUNDS])
    pairs = [generator.sample(window[place : place + 2], 2) for place in range(0, 2 * ROUNDS, 2)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


@pytest.mark.parametrize("test", TESTS)
def test_rounds_of_the_same_raise_no_alarm_and_five_percent_are_found(test: str) -> None:
    alarms = found = 0
    for seed in range(COMPARISONS):
        first, second = rounds_of(RECORDED["sequences"][test], seed)
        alarms += compare_rounds(first, second).verdict in ALARMS
        found += compare_rounds(first, [SLOWDOWN * speed for speed in second]).verdict == "slower"
    assert alarms <= 5
    assert found >= 95


@pytest.mark.parametrize("machine", ["quiet", "busy"])
@pytest.mark.parametrize("runs", [1, 3, 8])
def test_runs_of_the_same_raise_no_alarm(machine: str, runs: int) -> None:
    """The speed jumps by a tenth between runs, while the samples within a run agree within 2 %."""
    alarms = 0
    for seed in range(COMPARISONS):
        chosen = random.Random(seed).sample(range(len(RECORDED[machine]["pp64"])), 2 * runs)
        outcomes = [
            compare_runs(sides[:runs], sides[runs:], order="mixed", level=level_for(len(TESTS)))
            for sides in ([speeds(RECORDED[machine][test][number]) for number in chosen] for test in TESTS)
        ]
        alarms += any(outcome.verdict in ALARMS for outcome in outcomes)
    assert alarms <= 5


@pytest.mark.parametrize("machine", ["quiet", "busy"])
@pytest.mark.parametrize("runs", [1, 2, 4, 8])
def test_consecutive_runs_raise_no_alarm(machine: str, runs: int) -> None:
    """All runs of one side before those of the other: more of them must not increase the confidence."""
    recorded = [[speeds(run) for run in RECORDED[machine][test]] for test in TESTS]
    starts = range(len(recorded[0]) - 2 * runs + 1)
    alarms = 0
    for start in starts:
        outcomes = [
            compare_runs(test[start : start + runs], test[start + runs : start + 2 * runs], level=level_for(len(TESTS)))
            for test in recorded
        ]
        alarms += any(outcome.verdict in ALARMS for outcome in outcomes)
    assert alarms <= 0.05 * len(starts)


def test_an_interval_from_the_samples_alone_would_raise_alarms() -> None:
    """The reason for estimating the deviation between runs."""
    alarms = 0
    for seed in range(COMPARISONS):
        one, two = (bootstrap_interval(run) for run in random.Random(seed).sample(RECORDED["quiet"]["tg16"], 2))
        assert one is not None
        assert two is not None
        alarms += one[1] < two[0] or two[1] < one[0]
    assert alarms > 20


@pytest.mark.parametrize("deviation", [0.003, 0.006])
def test_single_runs_on_a_steady_machine_find_five_percent(deviation: float) -> None:
    """The recorded noise is scaled until runs differ by `deviation`."""
    recorded = RECORDED["quiet"]["tg16"]
    typical = statistics.fmean(math.log(statistics.median(run)) for run in recorded)
    spread = statistics.stdev(math.log(statistics.median(run)) for run in recorded)
    steady = [[math.exp((math.log(1 / sample) + typical) * deviation / spread) for sample in run] for run in recorded]
    drift = observed_drift([statistics.median(run) for run in steady[:8]])
    assert drift is not None
    alarms = found = 0
    for seed in range(COMPARISONS):
        one, two = random.Random(seed).sample(steady[8:], 2)
        alarms += compare_runs([one], [two], history=[drift]).verdict in ALARMS
        found += compare_runs([one], [[SLOWDOWN * speed for speed in two]], history=[drift]).verdict == "slower"
    assert alarms <= 5
    assert found >= 95


def test_alternating_runs_are_compared_in_pairs() -> None:
    """The machine becomes slower and slower, which affects both."""
    generator = random.Random(5)
    pace = [100 * 0.97**number for number in range(12)]
    first = [[speed * generator.gauss(1, 0.003) for _ in range(5)] for speed in pace]
    second = [[0.98 * speed * generator.gauss(1, 0.003) for _ in range(5)] for speed in pace]
    outcome = compare_runs(first, second, order="alternating")
    assert (outcome.verdict, outcome.method, outcome.units, outcome.drift) == ("slower", "paired runs", (12, 12), None)
    assert outcome.ratio == pytest.approx(0.98, abs=0.003)
    apart = compare_runs(first, second, order="mixed")
    assert (apart.verdict, apart.method) == ("too noisy to tell", "runs")
    assert apart.drift == pytest.approx(0.11, abs=0.02)
    assert apart.needed is not None


# --- verdicts in words ---------------------------------------------------------------------------------------------------


def test_history_decides_if_the_samples_cannot() -> None:
    one, two = [[100.0, 101.0, 99.0]], [[94.0, 95.0, 93.0]]
    steady, wild = Drift(0.004, 20), Drift(0.05, 20)
    assert compare_runs(one, two, history=[steady]).verdict == "slower"
    assert compare_runs(one, two, history=[wild]).verdict == "too noisy to tell"
    assert compare_runs(two, one, history=[steady]).verdict == "faster"
    assert compare_runs(one, [[100.5, 99.5, 100.0]], history=[steady]).verdict == "no difference shown"


def test_a_ratio_and_its_inverse_are_alike() -> None:
    first, second = [[100.0, 101.0, 99.5]], [[103.0, 102.0, 104.0]]
    there, back = compare_runs(first, second), compare_runs(second, first)
    assert there.interval is not None
    assert back.interval is not None
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.interval[0] * back.interval[1] == pytest.approx(1)


def test_single_samples_have_no_interval_without_a_history() -> None:
    alone = compare_runs([[100.0]], [[50.0]])
    assert (alone.interval, alone.verdict, alone.ratio, alone.drift) == (None, "too noisy to tell", pytest.approx(0.5), None)
    assert compare_runs([[100.0]], [[50.0]], history=[Drift(0.01, 10)]).verdict == "slower"
    assert compare_rounds([100.0], [50.0]).interval is None
    assert observed_drift([100.0]) is None


def test_few_rounds_are_compared_with_students_t() -> None:
    few = compare_rounds([100.0, 101.0, 99.0, 100.0, 100.5], [90.0, 91.0, 89.2, 90.1, 90.4])
    assert (few.verdict, few.units) == ("slower", (5, 5))
    same = compare_rounds([100.0, 101.0, 99.0], [100.0, 99.0, 101.0])
    assert same.verdict == "too noisy to tell"
    assert same.needed is not None
    assert same.needed >= 8


def test_no_number_of_rounds_detects_less_than_the_floor() -> None:
    speeds_of_both = [100.0] * 500, [99.6] * 500
    assert compare_rounds(*speeds_of_both).verdict == "no difference shown"
    assert compare_rounds(speeds_of_both[0], [99.0] * 500).verdict == "slower"


def test_level_holds_for_all_tests_together() -> None:
    assert level_for(1) == pytest.approx(0.99)
    assert level_for(10) == pytest.approx(0.999)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([31.6, 31.2], [0.14, 0.19]),
        ([31.6, 20.1], [0.14, 0.14]),
        ([31.6, 31.2, 31.5], [0.14, 0.15, 0.9]),
        ([100.0, 101.0, 102.0, 103.0, 104.0], [99.0, 98.0, 60.0, 97.0, 98.5]),  # paired, one outlier hides the difference
    ],
)
def test_few_disjoint_samples_are_told_apart(first: list[float], second: list[float]) -> None:
    slower, faster = compare_rounds(first, second), compare_rounds(second, first)
    assert (slower.verdict, faster.verdict) == ("slower", "faster")
    assert slower.interval is not None
    assert slower.interval[0] < slower.ratio < slower.interval[1] < 1
    assert slower.interval[0] > 1e-4
    assert slower.needed is None


@pytest.mark.parametrize("count", [2, 3, 5, 7])
@pytest.mark.parametrize("test", TESTS)
def test_few_rounds_of_the_same_raise_no_alarm(test: str, count: int) -> None:
    alarms = 0
    for seed in range(COMPARISONS):
        first, second = rounds_of(RECORDED["sequences"][test], seed)
        alarms += compare_rounds(first[:count], second[:count]).verdict in ALARMS
    assert alarms <= 5


def test_a_difference_far_beyond_any_drift_is_shown_by_single_samples() -> None:
    two_runs = observed_drift([100.0, 125.0])
    assert two_runs is not None
    assert compare_runs([[31.6]], [[0.14]], history=[two_runs]).verdict == "slower"
    assert compare_runs([[0.14]], [[31.6]], history=[two_runs]).verdict == "faster"
    assert compare_runs([[31.6]], [[29.0]], history=[two_runs]).verdict == "too noisy to tell"
