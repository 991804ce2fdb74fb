"""The servers that share the work: which one gets the next request, and how many it has at once.

A server begins with as many requests as it says that it answers at once. Each success allows one more until the server is
busy for the first time (429), which halves the number; then it grows by one for each round, as TCP's does. A server that cannot
be reached is left out for a while, longer each time.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llamacli.backend.remote.client import Client
from llamacli.backend.remote.fields import FieldMemory, RefusedFields
from llamacli.backend.remote.retry import LONGEST_SECONDS, pause
from llamacli.backend.remote.server import ServerInfo, learn
from llamacli.errors import RemoteError

FIRST = 4
"""Requests at once to a server that does not say how many it answers."""

MOST = 64
GIVEN_UP = 5
"""Failures in a row after which a server counts as lost."""

_OLD_SHARE = 0.7
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:([\d.]+)ms)?")


@dataclass(slots=True, eq=False)
class Endpoint:
    """A server of the pool, and how it has done. `seconds` is the mean time of its answers, 0.0 before the first."""

    client: Client
    info: ServerInfo
    refused: RefusedFields
    allowed: float = FIRST
    most: int = MOST
    running: int = 0
    was_busy: bool = False
    failures: int = 0
    closed_until: float = 0.0
    seconds: float = 0.0

    @classmethod
    def of(cls, client: Client, info: ServerInfo, memory: FieldMemory | None = None) -> Endpoint:
        """Return the endpoint of a server."""
        slots = info.slots
        fields = RefusedFields(str(client), info.model, memory)
        return cls(client, info, fields, allowed=slots or FIRST, most=slots or MOST)


@dataclass(slots=True)
class Pool:
    """Servers of the same model. Safe from any thread."""

    endpoints: Sequence[Endpoint]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set_parallel(self, count: int | None) -> None:
        """Allow each server so many requests at once; None lets the servers say."""
        if count is not None:
            for one in self.endpoints:
                one.allowed, one.most = count, count

    def choose(self, without: Sequence[Endpoint] = ()) -> Endpoint | None:
        """Return the server for a request that does not wait, None if all are in `without`."""
        left = [one for one in self.endpoints if one not in without]
        return min(left, key=lambda one: (one.closed_until > time.monotonic(), _cost(one)), default=None)

    def take(self) -> Endpoint | None:
        """Return a server that may have another request now, which counts as running; None if there is none."""
        now = time.monotonic()
        with self._lock:
            free = [one for one in self.endpoints if one.closed_until <= now and one.running < int(one.allowed)]
            found = min(free, key=_cost, default=None)
            if found is not None:
                found.running += 1
            return found

    def give_back(self, endpoint: Endpoint) -> None:
        """Take a server back that got no request."""
        with self._lock:
            endpoint.running -= 1

    def succeeded(self, endpoint: Endpoint, seconds: float, headers: Mapping[str, str]) -> None:
        """Take a server back that has answered in so many seconds."""
        with self._lock:
            endpoint.running -= 1
            endpoint.failures = 0
            endpoint.seconds = _OLD_SHARE * endpoint.seconds + (1 - _OLD_SHARE) * seconds if endpoint.seconds else seconds
            step = 1 / endpoint.allowed if endpoint.was_busy else 1.0
            endpoint.allowed = min(endpoint.allowed + step, float(endpoint.most))
            if headers.get("x-ratelimit-remaining-requests") == "0":
                self._close(endpoint, seconds_of(headers.get("x-ratelimit-reset-requests", "")))

    def was_busy(self, endpoint: Endpoint, attempt: int, headers: Mapping[str, str]) -> None:
        """Take a server back that has refused a request because it has too many."""
        with self._lock:
            endpoint.running -= 1
            if endpoint.closed_until <= time.monotonic():  # the refusals of one moment count once
                endpoint.was_busy = True
                endpoint.allowed = max(1.0, endpoint.allowed / 2)
            self._close(endpoint, pause(attempt, headers))

    def failed(self, endpoint: Endpoint) -> None:
        """Take a server back that could not be reached, or broke off."""
        with self._lock:
            endpoint.running -= 1
            if endpoint.closed_until <= time.monotonic():
                endpoint.failures += 1
                self._close(endpoint, pause(endpoint.failures - 1, {}))

    @property
    def is_lost(self) -> bool:
        """True if every server has failed too often in a row."""
        return all(one.failures >= GIVEN_UP for one in self.endpoints)

    @staticmethod
    def _close(endpoint: Endpoint, seconds: float) -> None:
        endpoint.closed_until = max(endpoint.closed_until, time.monotonic() + min(seconds, LONGEST_SECONDS))


def find_endpoints(clients: Sequence[Client], wanted: str | None, memory: FieldMemory | None = None) -> list[Endpoint]:
    """Return the servers that can be reached, with the model `wanted`. Raises as `learn`: the first error if there is none."""
    found: list[Endpoint] = []
    first: RemoteError | None = None
    for client in clients:
        try:
            found.append(Endpoint.of(client, learn(client, wanted), memory))
        except RemoteError as error:
            first = first or error
    if not found:
        assert first is not None
        raise first
    return found


def _cost(endpoint: Endpoint) -> float:
    """What a further request costs: a server that has not answered yet is tried first."""
    return (endpoint.running + 1) * endpoint.seconds if endpoint.seconds else endpoint.running * 1e-9


def seconds_of(text: str) -> float:
    """Return the seconds of a duration as OpenAI's headers have it.

    >>> seconds_of("6m0s"), seconds_of("120ms"), seconds_of("1.5s"), seconds_of("soon")
    (360.0, 0.12, 1.5, 1.0)
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return 1.0
    try:
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    except ValueError:
        return 1.0
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1e3
