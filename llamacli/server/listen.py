"""The sockets that a server listens on: an address, a path, or what systemd has opened."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from llamacli.errors import LlamacliError, UsageError
from llamacli.server.security.origin import is_loopback

_FIRST_PASSED = 3  # systemd's SD_LISTEN_FDS_START
PORT = 8080
"""The default port."""

BACKLOG = 2048
"""Connections that the system keeps until they are accepted."""


def passed_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd passed to this process (sd_listen_fds(3)); none without `LISTEN_FDS`.

    Raises:
        UsageError: if what was passed are not sockets.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = environ.get("LISTEN_FDS", "")
    if not count.isdecimal():
        return []
    found = []
    for descriptor in range(_FIRST_PASSED, _FIRST_PASSED + int(count)):
        os.set_inheritable(descriptor, False)
        try:
            found.append(socket.socket(fileno=descriptor))
        except OSError as error:
            raise UsageError(f"LISTEN_FDS: the descriptor {descriptor} is not a socket: {error.strerror}") from error
    return found


def open_address(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on all addresses of a host, such as 127.0.0.1 and ::1 for localhost.

    Raises:
        UsageError: if the host is unknown.
        LlamacliError: if the port is taken or may not be used.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"the host {host!r} has no address", parameter="host") from error
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            bound = socket.socket(family, kind, protocol)
            sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            same = sockets[0].getsockname()[1] if len(sockets) > 1 else port
            bound.bind((address[0], same, *address[2:]))
            bound.listen(BACKLOG)
    except OSError as error:
        for one in sockets:
            one.close()
        hint = "--port selects another one" if error.errno == errno.EADDRINUSE else None
        raise LlamacliError(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error
    return sockets


def open_path(path: Path) -> socket.socket:
    """Return a socket that listens on a path, for the owner only. A socket that nobody listens on any more is replaced.

    Raises:
        LlamacliError: if something else is there, or the path cannot be used.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        before = os.umask(0o177)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise LlamacliError(f"cannot listen on {path}: {error.strerror or error}") from error
    return bound


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise LlamacliError(f"{path} exists, and is not a socket", hint="--socket names another path")
    except FileNotFoundError:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise LlamacliError(f"another server listens on {path}", hint="--socket names another path")


def is_local(bound: socket.socket) -> bool:
    """Return whether only this machine can reach a socket."""
    return bound.family == socket.AF_UNIX or is_loopback(bound.getsockname()[0])


def address_of(bound: socket.socket, *, tls: bool) -> str:
    """Return the address of a socket as clients write it."""
    if bound.family == socket.AF_UNIX:
        return f"unix:{bound.getsockname()}"
    host, port = bound.getsockname()[:2]
    shown = {"127.0.0.1": "localhost", "::1": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def notify(environ: Mapping[str, str], state: str) -> None:
    """Tell systemd the state of this service (sd_notify(3)), if it wants to know."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender, contextlib.suppress(OSError):
        sender.connect(address)
        sender.sendall(state.encode())
