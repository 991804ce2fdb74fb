"""Where a request comes from: names of this host, and web pages that may talk to it.

A page of the web can send requests to a server on this machine, and with a name that resolves to 127.0.0.1 (DNS rebinding) it
can read the answers too. So `Host` must be a name of this machine, and `Origin`, which browsers send, must be the server's own
page or one that was allowed.
"""

from __future__ import annotations

import functools
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from llamacli.server.http.asgi import Scope, header

ANY = "*"

_METHODS = b"GET, POST, DELETE, OPTIONS"
_HEADERS_SHOWN = b"x-request-id, retry-after, retry-after-ms, x-ratelimit-limit-requests, x-ratelimit-remaining-requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginRules:
    """`hosts` are names beside those of loopback under which the server is reached; `*` allows any.

    `origins` are pages of other servers that may send requests, such as `https://app.example`; `*` allows any.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def problem(self, scope: Scope) -> str | None:
        """Return why a request is refused, None if it is not."""
        host = header(scope, b"host")
        if host is not None and not self._is_known(host):
            return f"the host {host[:200]!r} is not a name of this server (--allowed-host allows it)"
        origin = header(scope, b"origin")
        if origin is not None and not self._is_own(origin, host) and not self.allows(origin):
            return f"pages of {origin[:200]!r} may not use this server (--cors-origin allows them)"
        return None

    def allows(self, origin: str) -> bool:
        """Return whether pages of another server may read the answers."""
        return ANY in self.origins or origin.rstrip("/").lower() in self.origins

    def headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers that let a page of another server read the answer; none for other requests."""
        origin = header(scope, b"origin")
        if origin is None or not self.allows(origin):
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _HEADERS_SHOWN),
            (b"vary", b"origin"),
        ]

    def preflight(self, scope: Scope) -> list[tuple[bytes, bytes]] | None:
        """Return the headers that answer a browser's question before a request, None if this is not one, or not allowed."""
        origin, method = header(scope, b"origin"), header(scope, b"access-control-request-method")
        if scope["method"] != "OPTIONS" or origin is None or method is None or not self.allows(origin):
            return None
        wanted = header(scope, b"access-control-request-headers") or "authorization, content-type"
        return [
            *self.headers(scope),
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", wanted.encode("latin-1")),
            (b"access-control-max-age", b"3600"),
        ]

    def _is_known(self, host: str) -> bool:
        name = host_name(host)
        return ANY in self.hosts or is_loopback(name) or name in self.hosts

    @staticmethod
    def _is_own(origin: str, host: str | None) -> bool:
        parts = urlsplit(origin)
        return host is not None and parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def host_name(host: str) -> str:
    """Return the name in a `Host` header, without its port and the brackets of an IPv6 address.

    >>> host_name("localhost:8080"), host_name("[::1]:80"), host_name("Example.ORG.")
    ('localhost', '::1', 'example.org')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


@functools.lru_cache(maxsize=64)
def is_loopback(name: str) -> bool:
    """Return whether a name or an address is that of this machine alone."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
