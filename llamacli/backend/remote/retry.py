"""When and how long to wait before a request is sent again: the rules of OpenAI's client."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 120.0
"""A server that wants a longer pause is not waited for so long."""

_FIRST_SECONDS, _MOST_SECONDS = 0.5, 8.0


def should_retry(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether a response with this status may be another one the next time."""
    told = headers.get("x-should-retry", "").lower()
    if told in ("true", "false"):
        return told == "true"
    return status in (408, 409, 429) or status >= 500


def pause(attempt: int, headers: Mapping[str, str]) -> float:
    """Return the seconds before the next try, after failed attempt number `attempt`, from 0.

    It is what the server asks for, else 0.5 s, doubled each time up to 8 s, less up to a quarter, so that clients spread.
    """
    asked = retry_after(headers)
    if asked is not None and 0 <= asked <= LONGEST_SECONDS:
        return asked
    doubled = min(_FIRST_SECONDS * 2.0 ** min(attempt, 10), _MOST_SECONDS)
    return doubled * (1 - 0.25 * random.random())  # no secret


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `retry-after-ms` or `Retry-After` ask for, None without them."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
