"""Limits of requests and tokens in a time, by token buckets: a client that has paused may catch up, up to one whole limit."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}
_PART = re.compile(r"(\d{1,12})(tok|req)?/([a-z]+)")


@dataclass(frozen=True, slots=True)
class Rate:
    """`amount` in `seconds`."""

    amount: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A limit of requests, of tokens, or of both."""

    requests: Rate | None = None
    tokens: Rate | None = None


def parse_rate_limit(text: str) -> RateLimit:
    """Parse a limit such as `60/min,20000tok/min`. Raises ValueError."""
    found: dict[str, Rate] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None or match[3] not in _UNITS or not int(match[1]):
            raise ValueError(f"'{part.strip()}' is not a limit such as 60/min or 20000tok/min")
        name = "tokens" if match[2] == "tok" else "requests"
        if name in found:
            raise ValueError(f"'{text}' limits {name} twice")
        found[name] = Rate(int(match[1]), _UNITS[match[3]])
    return RateLimit(**found)


class Bucket:
    """A bucket that fills at a rate. It may be overdrawn, because the tokens of an answer are known only afterwards."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._level = float(rate.amount)
        self._at = clock()

    @property
    def level(self) -> float:
        """What may be taken now; negative if the bucket is overdrawn."""
        now = self._clock()
        self._level = min(self.rate.amount, self._level + (now - self._at) * self.rate.amount / self.rate.seconds)
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        """Take an amount, whether it is there or not."""
        self._level = self.level - amount

    def wait(self, amount: float = 1.0) -> float:
        """Return the seconds until this amount is there, 0 if it is."""
        return max(0.0, (amount - self.level) * self.rate.seconds / self.rate.amount)

    @property
    def reset(self) -> float:
        """Seconds until the bucket is full."""
        return (self.rate.amount - self.level) * self.rate.seconds / self.rate.amount


class Allowance:
    """The buckets of one client."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._requests = Bucket(limit.requests, clock) if limit.requests is not None else None
        self._tokens = Bucket(limit.tokens, clock) if limit.tokens is not None else None

    def admit(self) -> tuple[float, str]:
        """Count a request. Return 0, or the seconds until it would be admitted and what is exhausted."""
        waits = [(bucket.wait(), name) for bucket, name in ((self._requests, "requests"), (self._tokens, "tokens")) if bucket]
        longest = max(waits, default=(0.0, ""))
        if longest[0] <= 0 and self._requests is not None:
            self._requests.take(1)
        return longest

    def spend(self, tokens: int) -> None:
        """Count the tokens of an answer and its prompt."""
        if self._tokens is not None:
            self._tokens.take(tokens)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that tell what is left, as OpenAI's API names them."""
        found = []
        for name, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is not None:
                values = (bucket.rate.amount, max(0, int(bucket.level)), format_seconds(bucket.reset))
                found += [
                    (f"x-ratelimit-{key}-{name}".encode(), str(value).encode())
                    for key, value in zip(("limit", "remaining", "reset"), values, strict=True)
                ]
        return found


def format_seconds(seconds: float) -> str:
    """Format a duration as OpenAI's headers do.

    >>> format_seconds(0.0123), format_seconds(3.5), format_seconds(365)
    ('12ms', '3.5s', '6m5s')
    """
    if seconds < 1:
        return f"{round(1e3 * seconds)}ms"
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
