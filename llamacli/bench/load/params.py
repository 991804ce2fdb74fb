"""Parameters and samples of a load test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamacli.errors import UsageError

MOST_CONCURRENT = 1024
MOST_REQUESTS = 10_000_000
MOST_PROMPT = 1 << 24
"""Tokens of a prompt that is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The limits of a good request: seconds to the first token, and the mean between tokens. None is no limit."""

    ttft: float | None = None
    itl: float | None = None

    def is_met(self, sample: Sample) -> bool:
        """Return whether an answered request is a good one."""
        mean = sum(sample.gaps) / len(sample.gaps) if sample.gaps else 0.0
        return (self.ttft is None or sample.ttft <= self.ttft) and (self.itl is None or mean <= self.itl)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTest:
    """One test: `concurrency` requests at once, or with `rate` that many a second, at the times of a Poisson process.

    It ends after `requests`, or after `seconds`, whichever comes first; requests that are under way then are not counted.

    Raises:
        UsageError: if a number is out of range, or the test has no end; `parameter` is its name.
    """

    concurrency: int = 1
    rate: float | None = None
    requests: int | None = None
    seconds: float | None = None
    n_prompt: int = 0
    n_gen: int = 128
    warm_prefix: bool = False
    objective: Objective = Objective()

    def __post_init__(self) -> None:
        for parameter, value, most in (
            ("concurrency", self.concurrency, MOST_CONCURRENT), ("requests", self.requests, MOST_REQUESTS),
            ("seconds", self.seconds, 1e6), ("rate", self.rate, 1e5), ("n_gen", self.n_gen, 2**31 - 1),
        ):  # fmt: skip
            if value is not None and not 0 < value <= most:
                raise UsageError(f"{parameter} must be above 0 and at most {most:,.0f}", parameter=parameter)
        if not 0 <= self.n_prompt <= MOST_PROMPT:
            raise UsageError(f"n_prompt must be from 0 to {MOST_PROMPT}", parameter="n_prompt")
        if self.requests is None and self.seconds is None:
            raise UsageError("a load test needs a number of requests or of seconds", parameter="requests")

    @property
    def workload(self) -> str:
        """The kind of test in rows: with the rate of requests, and `warm` if prompts share a prefix."""
        return f"load{'' if self.rate is None else f' {self.rate:g}/s'}{' warm' if self.warm_prefix else ''}"

    @property
    def name(self) -> str:
        """The name in tables: `load x16 pp512+tg128`, `load 5/s tg128`."""
        sizes = "+".join([*([f"pp{self.n_prompt}"] if self.n_prompt else []), f"tg{self.n_gen}"])
        many = "" if self.rate is not None else f" x{self.concurrency}"
        return f"{self.workload}{many} {sizes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request: the endpoint below the API's path, and its document."""

    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request. Times are in seconds: `due` and `ended` since the test began, the others since it was due.

    `gaps` are those between events with text. `error` is the kind of failure, None for an answered request.
    """

    due: float
    ended: float
    ttft: float = 0.0
    gaps: tuple[float, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    error: str | None = None
    reason: str = ""

    @property
    def latency(self) -> float:
        """Seconds from the time at which it was due to its end."""
        return self.ended - self.due
