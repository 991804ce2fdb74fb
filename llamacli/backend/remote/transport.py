"""HTTP over TCP, TLS, a unix socket or a proxy: requests out, responses in, both bounded in size and time."""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from llamacli.backend.remote.address import Address
from llamacli.backend.remote.secret import Secret
from llamacli.errors import ClosedError, RemoteError, UsageError
from llamacli.version import VERSION

if TYPE_CHECKING:
    import ssl

CONNECT_SECONDS = 10.0
MOST_BYTES = 256 << 20
"""The longest document that a response may hold."""

PATIENCE = 300.0
"""Seconds without a byte after which a server is given up."""

_PORTION = 1 << 16
_IDLE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a server is reached: its key, a proxy's address, and the seconds without a byte after which it is given up."""

    secret: Secret | None = None
    proxy: str | None = None
    patience: float = PATIENCE


class _Connection(http.client.HTTPConnection):
    """A connection that sends the head of a request with its body, so that the server is woken once."""

    _parts: list[Any] | None = None

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request."""
        self._parts = []
        try:
            super().request(*args, **options)
        finally:
            parts, self._parts = self._parts, None
        self.send(b"".join(parts))

    def send(self, data: Any) -> None:
        """Send data, or keep it while a request is put together."""
        if self._parts is None:
            super().send(data)
        else:
            self._parts.append(data)


class _TlsConnection(_Connection, http.client.HTTPSConnection):
    """A connection over TLS."""


class _UnixConnection(_Connection):
    """A connection to a unix socket."""

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


class Response:
    """A response whose body has not been read. `headers` have lower-case names. Close it, read or not."""

    def __init__(self, transport: Transport, connection: http.client.HTTPConnection, raw: http.client.HTTPResponse) -> None:
        self._transport, self._connection, self._raw = transport, connection, raw
        self.status = raw.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in raw.getheaders()}

    @property
    def is_stream(self) -> bool:
        """True if the body is a stream of events."""
        return self.headers.get("content-type", "").lower().startswith("text/event-stream")

    def portions(self) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises RemoteError if the connection breaks before its end."""
        while True:
            try:
                portion = self._raw.read1(_PORTION)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._transport.broken(error) from error
            if not portion:
                return
            yield portion

    def body(self) -> bytes:
        """Return the whole body. Raises RemoteError if the connection breaks, or if it is longer than MOST_BYTES."""
        found, size = [], 0
        for portion in self.portions():
            size += len(portion)
            if size > MOST_BYTES:
                raise RemoteError(f"{self._transport.address} sent more than {MOST_BYTES >> 20} MiB")
            found.append(portion)
        return b"".join(found)

    def close(self) -> None:
        """Keep the connection for the next request if this response was read to its end, else close it."""
        self._transport.release(self._connection, reusable=self._raw.isclosed() and not self._raw.will_close)
        self._raw.close()


class Transport:
    """The connections to one server. Safe from any thread; `close` and `abort` end what runs on others."""

    def __init__(self, address: Address, access: Access) -> None:
        self.address = address
        self._access = access
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: dict[http.client.HTTPConnection, socket.socket] = {}
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    def send(self, method: str, path: str, body: bytes | None = None, *, patience: float | None = None) -> Response:
        """Send a request and return the response. `patience` is shorter than the server's own for a small question.

        Raises:
            RemoteError: if the server cannot be reached or breaks off.
        """
        while True:
            connection, is_used = self._take(patience or self._access.patience)
            try:
                connection.request(method, self._target(path), body, self._headers(body))
                raw = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self.release(connection, reusable=False)
                if is_used and isinstance(error, http.client.RemoteDisconnected | ConnectionError):
                    continue  # the server had closed it while it was idle
                raise self.broken(error) from error
            except BaseException:
                self.release(connection, reusable=False)
                raise
            return Response(self, connection, raw)

    def broken(self, error: Exception) -> RemoteError:
        """Return the error for a broken connection."""
        if isinstance(error, TimeoutError):
            return RemoteError(
                f"{self.address} sent nothing for {self._access.patience:g} s",
                hint="a larger patience waits longer",
                parameter="patience",
            )
        if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected | ValueError):
            return RemoteError(f"{self.address} broke off its answer")
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return RemoteError(f"the connection to {self.address} failed: {reason}")

    def abort(self) -> None:
        """End all requests that run, from any thread; those that are sent afterwards are not affected."""
        with self._lock:
            busy = list(self._busy.values())
        for sock in busy:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def abort_one(self, response: Response) -> None:
        """End the request of a response, from any thread."""
        with self._lock:
            sock = self._busy.get(response._connection)  # noqa: SLF001  # of the same module
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self.abort()

    def release(self, connection: http.client.HTTPConnection, *, reusable: bool) -> None:
        """Take a connection back."""
        with self._lock:
            self._busy.pop(connection, None)
            if reusable and not self._closed and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _take(self, patience: float) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        with self._lock:
            if self._closed:
                raise ClosedError(f"the connection to {self.address} is closed")
            connection = self._idle.pop() if self._idle else None
        is_used = connection is not None
        if connection is None:
            connection = self._connected()
        sock: socket.socket = connection.sock
        sock.settimeout(patience)
        with self._lock:
            self._busy[connection] = sock
        return connection, is_used

    def _connected(self) -> http.client.HTTPConnection:
        connection = self._new()
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
            through = " through the proxy" if self._access.proxy else ""
            untrusted = getattr(error, "verify_message", None)  # of an error of ssl, which is not imported for http
            if untrusted:
                hint = "SSL_CERT_FILE names a file of certificates to trust"
                raise RemoteError(f"cannot trust {self.address}{through}: {untrusted}", hint=hint) from error
            raise RemoteError(f"cannot reach {self.address}{through}: {reason}") from error
        return connection

    def _new(self) -> http.client.HTTPConnection:
        address = self.address
        if address.scheme == "unix":
            return _UnixConnection(address.host, timeout=CONNECT_SECONDS)
        proxy = urlsplit(self._access.proxy) if self._access.proxy else None
        host, port = (proxy.hostname or "", proxy.port or 80) if proxy is not None else (address.host, address.port)
        if address.scheme == "http":
            return _Connection(host, port, timeout=CONNECT_SECONDS)
        connection = _TlsConnection(host, port, timeout=CONNECT_SECONDS, context=self._tls_context())
        if proxy is not None:
            connection.set_tunnel(address.host, address.port, self._proxy_headers())
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        """TLS with the system's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR, which OpenSSL reads itself."""
        if self._tls is None:
            import ssl

            self._tls = ssl.create_default_context()
        return self._tls

    def _target(self, path: str) -> str:
        return f"http://{self.address.authority}{path}" if self._access.proxy and self.address.scheme == "http" else path

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {
            "Host": self.address.authority,
            "User-Agent": f"llamacli/{VERSION}",
            "Accept": "application/json, text/event-stream",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._access.secret is not None:
            headers["Authorization"] = self._access.secret.header()
        if self.address.scheme == "http" and self._access.proxy:
            headers |= self._proxy_headers()
        return headers

    def _proxy_headers(self) -> dict[str, str]:
        proxy: Any = urlsplit(self._access.proxy or "")
        if proxy.username is None:
            return {}
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def check_access(address: Address, access: Access, *, insecure: bool) -> None:
    """Raise UsageError if the key would travel unencrypted to another machine, or if the proxy's address is invalid."""
    if access.secret is not None and address.scheme == "http" and not address.is_local and not insecure:
        raise UsageError(
            f"the key would be sent to {address} unencrypted",
            hint="use https://, or insecure in a network that you trust",
            parameter="insecure",
        )
    if access.proxy is not None:
        try:
            parts = urlsplit(access.proxy)
            is_usable = parts.scheme == "http" and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_usable = False
        if not is_usable:
            raise UsageError("the address of the proxy is invalid", hint="write http://host:port")
