"""The clients of the server: who holds which key, and what each may still ask."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llamacli.errors import SettingsError
from llamacli.server.http.asgi import Scope, header
from llamacli.server.security.rate_limit import Allowance, RateLimit, parse_rate_limit
from llamacli.store.api_keys import ApiKey, digest_of

ANYBODY = "anybody"
"""The name of all clients of a server without keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client: the name of its key, and its allowance, None without a limit."""

    name: str
    allowance: Allowance | None = None


class Clients:
    """The clients by their keys. Without keys, everybody is one client."""

    def __init__(self, keys: Sequence[ApiKey], limit: RateLimit | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clients: list[tuple[bytes, Client]] = []
        self._anybody = Client(name=ANYBODY)
        self.replace(keys, limit)

    @property
    def has_keys(self) -> bool:
        """True if requests need a key."""
        return bool(self._clients)

    def replace(self, keys: Sequence[ApiKey], limit: RateLimit | None) -> None:
        """Take other keys, and another limit for those without one. What was used of an unchanged limit still counts.

        Raises:
            SettingsError: if the limit of a key is invalid.
        """
        before = {client.name: client for _, client in self._clients}
        clients = []
        for key in keys:
            client = self._client(key.name, _limit_of(key, limit), before.get(key.name))
            clients.append((key.digest.encode(), client))
        self._clients = clients
        self._anybody = self._client(ANYBODY, limit, self._anybody)

    def _client(self, name: str, limit: RateLimit | None, before: Client | None) -> Client:
        allowance = before.allowance if before is not None else None
        if limit is None or allowance is None or allowance.limit != limit:
            allowance = Allowance(limit, self._clock) if limit is not None else None
        return Client(name=name, allowance=allowance)

    def find(self, scope: Scope) -> Client | None:
        """Return the client of a request, None if it has no valid key. All hashes are compared, each in constant time."""
        if not self._clients:
            return self._anybody
        given = _key_of(scope)
        if given is None:
            return None
        digest, found = digest_of(given).encode(), None
        for known, client in self._clients:
            if hmac.compare_digest(known, digest):
                found = client
        return found


def _limit_of(key: ApiKey, default: RateLimit | None) -> RateLimit | None:
    if key.limit is None:
        return default
    try:
        return parse_rate_limit(key.limit)
    except ValueError as error:
        raise SettingsError(f"the key {key.name}: {error}") from error


def _key_of(scope: Scope) -> str | None:
    """The key of a request: a bearer token, the password of basic authorization (browsers), or a header of other APIs."""
    kind, _, value = (header(scope, b"authorization") or "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return header(scope, b"x-api-key") or header(scope, b"api-key")
