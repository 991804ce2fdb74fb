"""The events of a benchmark run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from llamacli.bench.measure.params import BenchResult, BenchTest, Repetition
from llamacli.bench.statistics import bootstrap_interval
from llamacli.errors import LlamacliError

Stage = Literal["load", "warm-up", "measure"]


@dataclass(frozen=True, slots=True)
class StageStarted:
    """The start of a stage of a test, or of repetition `number` of `count` (None if unknown in advance)."""

    index: int
    test: BenchTest
    stage: Stage
    number: int
    count: int | None


@dataclass(frozen=True, slots=True)
class RepetitionDone:
    """The end of one repetition of the test at position `index`."""

    index: int
    sample: Repetition


@dataclass(frozen=True, slots=True)
class ResultReady:
    """The end of a test. `failure` is the exception if it failed. `index` is the position in the list of tests."""

    index: int
    result: BenchResult
    failure: LlamacliError | None = None


BenchEvent = StageStarted | RepetitionDone | ResultReady


def failed(index: int, test: BenchTest, error: LlamacliError, samples: Sequence[Repetition] = ()) -> ResultReady:
    """Return the end of a test that failed outside of a repetition, with the samples before."""
    result = BenchResult(
        test=test,
        test_time=utc_now(),
        samples=tuple(samples),
        interval_ns=bootstrap_interval([sample.total_ns for sample in samples]) if samples else None,
        error=error.message,
    )
    return ResultReady(index, result, error)


def utc_now() -> str:
    """Return the time, RFC 3339 in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
