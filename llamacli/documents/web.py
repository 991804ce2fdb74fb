"""Web pages, fetched within limits, and never from a private network that the user did not name.

A host's addresses are resolved here, checked, and connected to as they are, so that a name which is resolved once more cannot
lead elsewhere. Each redirect is checked like the first address. Through a proxy it is the proxy that resolves names: there
only addresses that are written as numbers are checked.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from llamacli.documents.text import MAX_INPUT_BYTES
from llamacli.errors import CapacityError, FetchError, UsageError

MAX_REDIRECTS = 5
MAX_SECONDS = 60.0
"""Limit of fetching a page, redirects included."""
SILENT_SECONDS = 15.0
"""Seconds a server may stay silent."""

_CHUNK = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
_PREFIX_OF_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_MOST_ADDRESSES = 4
_HINT = "--private-addresses reads pages of private networks and of this machine"

Networks = Literal["public", "private", "any"]
"""Where a host may be."""

Proxies = Callable[[SplitResult], str | None]
"""Returns the address of the proxy for a URL, None without one."""


@dataclass(frozen=True, slots=True)
class Page:
    """The content of an address: its bytes, and its Content-Type, such as `text/html; charset=utf-8`."""

    data: bytes
    media_type: str


def fetch(address: str, *, allows_private: bool = False, proxies: Proxies = lambda _: None) -> Page:
    """Return the page at an `https://` address.

    `allows_private` permits hosts of private networks and this machine, also without TLS, if the user named them: a redirect
    leads from one to another only on the same host.

    Raises:
        UsageError: if the address is invalid, or leads to a private network.
        FetchError: if the server cannot be reached, or does not send the page.
        CapacityError: if the page is too large.
    """
    url = _parse(address)
    allowed_host = url.hostname if allows_private else None
    deadline = time.monotonic() + MAX_SECONDS
    for _ in range(MAX_REDIRECTS + 1):
        with _Exchange(url, allowed_host, proxies, deadline) as exchange:
            location = exchange.redirect()
            if location is None:
                return exchange.page(address)
        following = _parse(urljoin(urlunsplit(url), location))
        if url.scheme == "https" and following.scheme != "https":
            raise UsageError(f"{address} redirects to {urlunsplit(following)}, which is not https")
        url = following
    raise FetchError(f"{address} redirects more than {MAX_REDIRECTS} times")


def _parse(address: str) -> SplitResult:
    """Return the parts of an address, with its path and query quoted."""
    try:
        parts = urlsplit(address.strip())
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise UsageError(f"{address} is not a web address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{address} is not a web address", hint="write https://host/page")
    if parts.username is not None:
        raise UsageError("the web address has a user name, which is not sent", hint="pipe the text in, for example from curl")
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise UsageError(f"{address} is not a web address: the host's name is invalid") from error
    netloc = f"[{host}]" if ":" in host else host
    safe = "/%:@!$&'()*+,;=~"
    return parts._replace(
        netloc=netloc if port is None else f"{netloc}:{port}",
        path=quote(parts.path, safe=safe) or "/",
        query=quote(parts.query, safe=safe + "?"),
        fragment="",
    )


class _Exchange:
    """One request and its response. A context manager that ends them, also when `deadline` has come."""

    def __init__(self, url: SplitResult, allowed_host: str | None, proxies: Proxies, deadline: float) -> None:
        self._url = url
        self._host = url.hostname or ""
        self._deadline = deadline
        self._is_late = False
        self._connection = _connection(url, allowed_host, proxies(url))
        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._end)
        self._timer.daemon = True
        self._response: http.client.HTTPResponse | None = None

    def __enter__(self) -> Self:
        self._timer.start()
        target = urlunsplit(("", "", self._url.path, self._url.query, ""))
        headers = {"User-Agent": "llamacli", "Accept": "text/html, text/*, */*;q=0.5", "Accept-Encoding": "identity"}
        try:
            self._connection.request("GET", target, headers=headers)
            self._response = self._connection.getresponse()
        except UsageError:  # of the check of an address; it is a ValueError, too
            self.__exit__()
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.__exit__()
            raise self._failure(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def redirect(self) -> str | None:
        """Return the address of a redirect, None if the response is the page."""
        response = self._response
        assert response is not None
        return response.headers.get("Location") if response.status in _REDIRECTS else None

    def page(self, address: str) -> Page:
        """Return the page. Raises FetchError if the server does not send it, CapacityError if it is too large."""
        response = self._response
        assert response is not None
        if response.status != 200:
            raise FetchError(f"{address}: the server responded {response.status} {response.reason}".rstrip())
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise FetchError(f"{address}: the server sent a compressed response, which was not requested")
        data = bytearray()
        try:
            while chunk := response.read1(_CHUNK):
                data += chunk
                if len(data) > MAX_INPUT_BYTES:
                    raise CapacityError(
                        f"{address} is larger than {MAX_INPUT_BYTES >> 20} MiB", hint="no context holds as much"
                    )
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error
        length = response.headers.get("Content-Length", "")
        if self._is_late or (length.isdecimal() and len(data) < int(length)):
            raise self._failure(ConnectionError(f"the connection was lost after {len(data):,} bytes"))
        return Page(bytes(data), response.headers.get("Content-Type", ""))

    def _end(self) -> None:
        self._is_late = True
        sock = self._connection.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                sock.close()

    def _failure(self, error: Exception) -> FetchError:
        if self._is_late or time.monotonic() >= self._deadline:
            return FetchError(f"{self._host} took longer than {MAX_SECONDS:.0f} s to send the page")
        reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
        return FetchError(f"cannot fetch from {self._host}: {reason or type(error).__name__}")


def _connection(url: SplitResult, allowed_host: str | None, proxy: str | None) -> http.client.HTTPConnection:
    """Return the connection for a URL, which is made with the first request."""
    host = url.hostname or ""
    is_allowed = host == allowed_host
    if url.scheme == "http":
        if not is_allowed:
            raise UsageError(f"{urlunsplit(url)} is not an https:// address")
        return _Checked(host, url.port, "private")
    networks: Networks = "any" if is_allowed else "public"
    if proxy is not None:
        return _through(proxy, host, url.port or http.client.HTTPS_PORT, networks)
    return _CheckedTLS(host, url.port, networks)


def _through(proxy: str, host: str, port: int, networks: Networks) -> http.client.HTTPConnection:
    """Return a connection through a proxy."""
    from llamacli.store.models.download import tls_context

    if _is_number(host):
        _check(host, host, networks)
    parts = urlsplit(proxy)
    headers = {}
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Proxy-Authorization"] = f"Basic {b64encode(secret).decode()}"
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 80, timeout=SILENT_SECONDS, context=tls_context()
    )
    connection.set_tunnel(host, port, headers)
    return connection


class _Checked(http.client.HTTPConnection):
    """A connection to one of the checked addresses of a host."""

    def __init__(self, host: str, port: int | None, networks: Networks) -> None:
        super().__init__(f"[{host}]" if ":" in host else host, port, timeout=SILENT_SECONDS)
        self._networks = networks

    def connect(self) -> None:
        """Resolve the host, check its addresses, and connect to the first that answers."""
        self.sock = _connect(self.host, self.port, self._networks)


class _CheckedTLS(_Checked):
    """The same with TLS."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        """Connect, and verify the host's certificate."""
        from llamacli.store.models.download import tls_context

        super().connect()
        try:
            self.sock = tls_context().wrap_socket(self.sock, server_hostname=self.host)
        except (OSError, ssl.SSLError):
            self.sock.close()
            raise


def _connect(host: str, port: int, networks: Networks) -> socket.socket:
    """Return a socket connected to the host: to an address that was checked, whatever its name resolves to afterwards."""
    found = resolve(host, port)
    for _, address in found:
        _check(str(address[0]), host, networks)
    failure = OSError(f"{host} has no address")
    for family, address in found:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(SILENT_SECONDS)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def resolve(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Return the families and addresses of a host, as sockets take them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))[:_MOST_ADDRESSES]


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _check(address: str, host: str, networks: Networks) -> None:
    """Check that an address of a host is where the host may be."""
    public = is_public(ipaddress.ip_address(address.partition("%")[0]))
    named = host if host == address else f"{host} ({address})"
    if networks == "public" and not public:
        raise UsageError(f"{named} is in a private network", hint=_HINT)
    if networks == "private" and public:
        raise UsageError(f"{named} is in a public network, where only https:// addresses are read")


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address belongs to the internet, also where an IPv6 address stands for one of IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _PREFIX_OF_NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast
