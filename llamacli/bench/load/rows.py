"""The row of a load test: the columns of every benchmark, and the figures of the client."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from llamacli.backend.remote.server import ServerInfo
from llamacli.bench.load.params import LoadTest, Sample
from llamacli.bench.measure.params import BenchResult, BenchTest, Machine
from llamacli.bench.measure.rows import result_row
from llamacli.bench.statistics import bootstrap_interval, percentile

WINDOWS = 10
"""Parts of a test whose speeds are the samples that comparisons use."""

_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def load_row(
    test: LoadTest, samples: Sequence[Sample], *, url: str, info: ServerInfo, machine: Machine, test_time: str
) -> dict[str, Any]:
    """Return the row. `samples_ts` are the tokens a second of equal parts of the time, `load` has the client's figures."""
    good = [one for one in samples if one.error is None]
    seconds = max((one.ended for one in samples), default=0.0)
    shape = BenchTest(model=f"{info.model} at {url}", n_prompt=test.n_prompt, n_gen=test.n_gen)
    row = result_row(BenchResult(test=shape, test_time=test_time), machine)
    row |= {
        "model_type": info.model,
        "n_parallel": 1 if test.rate is not None else test.concurrency,
        "test": test.name,
        "workload": test.workload,
        "repetitions": len(good),
        "error": None if good else _first_reason(samples),
    }
    if not good:
        return row
    speeds = _speeds(good, seconds)
    interval = bootstrap_interval(speeds) if len(speeds) > 1 else None
    total = sum(one.tokens for one in good) / seconds
    gaps = [gap for one in good for gap in one.gaps] or [0.0]
    low, high = interval or (None, None)
    row |= {
        "samples_ts": [round(speed, 3) for speed in speeds],
        "samples_ns": [round(one.latency * 1e9) for one in good],
        "avg_ns": int(statistics.fmean(one.latency for one in good) * 1e9),
        "avg_ts": round(total, 6),
        "stddev_ts": round(statistics.pstdev(speeds), 6),
        "median_ns": round(statistics.median(one.latency for one in good) * 1e9, 1),
        "median_ts": round(total, 6) if interval else None,
        "low_ts": _rounded(low),
        "high_ts": _rounded(high),
        "ttft_ms": _ms(percentile([one.ttft for one in good], 0.5)),
        "itl_p50_ms": _ms(percentile(gaps, 0.5)),
        "itl_p90_ms": _ms(percentile(gaps, 0.9)),
        "itl_p99_ms": _ms(percentile(gaps, 0.99)),
        "itl_max_ms": _ms(max(gaps)),
        "load": _figures(test, samples, good, gaps, seconds),
    }
    return row


def _figures(
    test: LoadTest, samples: Sequence[Sample], good: Sequence[Sample], gaps: Sequence[float], seconds: float
) -> dict[str, Any]:
    met = sum(map(test.objective.is_met, good))
    has_objective = dataclasses.astuple(test.objective) != (None, None)
    return {
        "rate": test.rate,
        "concurrency": None if test.rate is not None else test.concurrency,
        "seconds": round(seconds, 6),
        "requests": len(samples),
        "errors": dict(Counter(one.error for one in samples if one.error is not None)),
        "requests_per_second": round(len(good) / seconds, 4),
        "prompt_tokens": sum(one.prompt_tokens for one in good),
        "cached_tokens": sum(one.cached_tokens for one in good),
        "completion_tokens": sum(one.tokens for one in good),
        "prompt_tokens_per_second": round(sum(one.prompt_tokens for one in good) / seconds, 3),
        "ttft_ms": _percentiles([one.ttft for one in good]),
        "itl_ms": _percentiles(gaps),
        "latency_ms": _percentiles([one.latency for one in good]),
        "goodput": round(met / seconds, 4) if has_objective else None,
        "goodput_share": round(met / len(samples), 4) if has_objective else None,
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {name: _ms(percentile(values, share)) for name, share in _SHARES.items()}


def _speeds(samples: Sequence[Sample], seconds: float) -> list[float]:
    """Return the tokens per second in equal parts of the time. The tokens of a request are spread evenly over its events."""
    counts = [0.0] * WINDOWS
    for one in samples:
        events = len(one.gaps) + 1
        moment = one.due + one.ttft
        for gap in (0.0, *one.gaps):
            moment += gap
            counts[min(int(moment / seconds * WINDOWS), WINDOWS - 1)] += one.tokens / events
    return [max(count * WINDOWS / seconds, 1e-9) for count in counts]


def _first_reason(samples: Sequence[Sample]) -> str:
    first = next((one for one in samples if one.error is not None), None)
    return f"{first.error}: {first.reason}".removesuffix(": ") if first is not None else "no request ended in time"


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
