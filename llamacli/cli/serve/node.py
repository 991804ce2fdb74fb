"""An RPC node from the command line: it lends the devices of this machine until a signal ends it."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from collections import deque
from pathlib import Path

from llamacli.backend.child.node import NodeParams, NodeProcess
from llamacli.backend.rpc import PORT
from llamacli.cli.framework.command import Reread
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ContextOptions
from llamacli.cli.framework.terminal.signals import Terminated
from llamacli.cli.serve.options import ListenOptions, NodeOptions, ServedModelOptions
from llamacli.errors import LlamacliError, StorageError, UsageError
from llamacli.units import format_bytes

_POLL_SECONDS = 0.5
_MOST_DEATHS, _WITHIN_SECONDS = 3, 60.0

_UNUSED = {"model": "-m", "rpc": "--rpc", "socket": "--socket", "tls_cert": "--tls-cert", "api_key": "--api-key"}
"""Options that a user might expect to have an effect, by parameter."""


def run_node(
    app: AppContext,
    listen: ListenOptions,
    node: NodeOptions,
    model: ServedModelOptions,
    context: ContextOptions,
    line: Reread,
) -> None:
    """Lend this machine's devices until a signal ends it. A process that dies is started again.

    Raises:
        UsageError: if an option makes no sense here, or others could reach the node.
        LlamacliError: if it cannot listen or start, or dies three times in a minute.
    """
    for name, flag in _UNUSED.items():
        if line.given(name):
            raise UsageError(f"{flag} has no effect with --rpc-node")
    host = checked_host(listen.host, insecure=node.insecure_rpc)
    params = NodeParams(
        host=host,
        port=free_port(host, PORT if listen.port is None else listen.port),
        devices=model.device,
        threads=context.threads,
        kernels=model.kernels,
        cache=str(made_folder(node.cache)) if node.cache is not None else None,
    )
    deaths: deque[float] = deque(maxlen=_MOST_DEATHS)
    try:
        while True:
            with NodeProcess(params, model.child()) as process:
                tell_ready(app, process, insecure=node.insecure_rpc)
                while (end := process.wait(_POLL_SECONDS)) is None:
                    pass
            deaths.append(time.monotonic())
            if len(deaths) == _MOST_DEATHS and deaths[-1] - deaths[0] < _WITHIN_SECONDS:
                raise end
            app.console.warn(f"{end}; the node starts again, without what it held")
    except (KeyboardInterrupt, Terminated):
        return


def checked_host(host: str, *, insecure: bool) -> str:
    """Return the IPv4 address to listen on. Raises UsageError if it has none, or if others could reach it unasked."""
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"the host {host!r} has no IPv4 address, and RPC knows no other", parameter="host") from error
    if not ipaddress.IPv4Address(found).is_loopback and not insecure:
        raise UsageError(
            f"RPC knows no keys: whoever reaches {found} could read and change the memory of this node",
            hint="tunnel 127.0.0.1 with ssh (`llamacli help cluster`), or give --insecure-rpc on a network that is yours alone",
        )
    return str(found)


def free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0. Raises LlamacliError if it is taken or may not be used."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            return int(bound.getsockname()[1])
    except OSError as error:
        hint = "--port selects another one" if error.errno == errno.EADDRINUSE else None
        raise LlamacliError(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error


def made_folder(path: Path) -> Path:
    """Return the folder for tensors, made if it is not there.

    Raises:
        StorageError: if it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror}") from error
    return path.resolve()


def tell_ready(app: AppContext, process: NodeProcess, *, insecure: bool) -> None:
    """Say where the node listens, what it lends, and who may connect."""
    about = process.description
    memory = ", ".join(f"{format_bytes(device.free)} of memory" for device in about.devices)
    app.console.note(f"RPC node at {about.address}: {memory}")
    if insecure:
        app.console.warn("RPC knows no keys: whoever reaches this address can read and change the memory of this node")
