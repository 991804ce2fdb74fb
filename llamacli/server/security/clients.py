"""The clients of the server: who holds which key, and what each may still ask."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
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

    def __init__(self, keys: Sequence[ApiKey], limit: RateLimit | None) -> None:
        self._limit = limit
        self._clients: list[tuple[bytes, Client]] = []
        self._anybody = Client(name=ANYBODY, allowance=Allowance(limit) if limit is not None else None)
        self.replace(keys)

    @property
    def has_keys(self) -> bool:
        """True if requests need a key."""
        return bool(self._clients)

    def replace(self, keys: Sequence[ApiKey]) -> None:
        """Take other keys. What a client has used of an unchanged limit still counts.

        Raises:
            SettingsError: if the limit of a key is invalid.
        """
        before = {client.name: client for _, client in self._clients}
        clients = []
        for key in keys:
            limit = self._limit_of(key)
            old = before.get(key.name)
            allowance = old.allowance if old is not None else None
            if limit is None or allowance is None or allowance.limit != limit:
                allowance = Allowance(limit) if limit is not None else None
            clients.append((key.digest.encode(), Client(name=key.name, allowance=allowance)))
        self._clients = clients

    def _limit_of(self, key: ApiKey) -> RateLimit | None:
        if key.limit is None:
            return self._limit
        try:
            return parse_rate_limit(key.limit)
        except ValueError as error:
            raise SettingsError(f"the key {key.name}: {error}") from error

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
