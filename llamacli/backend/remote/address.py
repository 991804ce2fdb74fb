"""Addresses of servers: `http://host:port`, `https://host/v1`, `unix:///path/of/socket`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from llamacli.errors import UsageError

Scheme = Literal["http", "https", "unix"]

_VERSION = re.compile(r"/v\d+$")
_HINT = "write http://host:port, https://host/v1 or unix:///path/of/socket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address. `api` is the path before OpenAI's endpoints, `root` that before the server's own, such as /props.

    `host` is the path of the socket if the scheme is unix.
    """

    scheme: Scheme
    host: str
    port: int
    api: str
    root: str

    @property
    def is_local(self) -> bool:
        """True if nothing that is sent leaves this machine."""
        if self.scheme == "unix" or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def authority(self) -> str:
        """The host and the port, as the Host header has them."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix://{self.host}" if self.scheme == "unix" else f"{self.scheme}://{self.authority}{self.root}"


def parse_address(text: str) -> Address:
    """Parse an address. Raises UsageError, whose message never repeats a password."""
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise UsageError("the address of the server is invalid", hint=_HINT, parameter="url") from None
    if "@" in parts.netloc:
        hint = "LLAMACLI_API_KEY holds a key"
        raise UsageError("the address of the server must not hold a user or a password", hint=hint, parameter="url")
    printable = text.isascii() and text.isprintable() and " " not in text
    if parts.query or parts.fragment or not printable:
        raise UsageError("the address of the server must be a host and a path only", hint=_HINT, parameter="url")
    if parts.scheme == "unix" and not parts.netloc and len(parts.path) > 1:
        return Address(scheme="unix", host=parts.path, port=0, api="/v1", root="")
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{text} is not the address of a server", hint=_HINT, parameter="url")
    path = parts.path.rstrip("/")
    is_versioned = _VERSION.search(path) is not None
    return Address(
        scheme="https" if parts.scheme == "https" else "http",
        host=host,
        port=port or (443 if parts.scheme == "https" else 80),
        api=path if is_versioned else f"{path}/v1",
        root=_VERSION.sub("", path),
    )
