"""A server from the command line: open the sockets, say where, serve until the end."""

from __future__ import annotations

import os
import socket

from llamacli.cli.framework.command import Reread
from llamacli.cli.framework.context import AppContext
from llamacli.cli.serve.options import ListenOptions
from llamacli.cli.serve.setup import Setup, make_state, reload
from llamacli.errors import LlamacliError, UsageError
from llamacli.server.listen import PORT, address_of, is_local, open_address, open_path, passed_sockets
from llamacli.server.run import Hooks, RunningServer, RunParams
from llamacli.server.state import ServerState


def run_server(app: AppContext, setup: Setup, line: Reread) -> None:
    """Serve until a signal ends it.

    Raises:
        UsageError: if others could reach the server and no key is set.
        LlamacliError: if it cannot listen, or the first model cannot be loaded.
    """
    if (setup.listen.tls_cert is None) != (setup.listen.tls_key is None):
        raise UsageError("--tls-cert and --tls-key must be given together")
    state = make_state(app, setup, line)
    check_model(state)
    sockets = open_sockets(setup.listen)
    try:
        check_access(state, sockets)
        tls = setup.listen.tls_cert, setup.listen.tls_key
        params = RunParams(tls=(tls[0], tls[1]) if tls[0] is not None and tls[1] is not None else None)
        hooks = Hooks(
            on_ready=lambda: tell_ready(app, state, sockets, setup), reload=lambda: tell_reload(app, state, setup, line)
        )
        RunningServer(state, sockets, params, hooks).run(os.environ)
    finally:
        for one in sockets:
            one.close()
        if setup.listen.socket is not None:
            setup.listen.socket.unlink(missing_ok=True)


def check_model(state: ServerState) -> None:
    """Find the first model, and check its header, before the address is announced. Raises ModelError."""
    spec = state.pool.spec_of(state.pool.default)
    spec.context_for(spec.find())


def open_sockets(options: ListenOptions) -> list[socket.socket]:
    """Return the sockets: what systemd has opened, else a path, else an address. Raises LlamacliError."""
    if passed := passed_sockets(os.environ):
        return passed
    if options.socket is not None:
        return [open_path(options.socket)]
    return open_address(options.host, PORT if options.port is None else options.port)


def check_access(state: ServerState, sockets: list[socket.socket]) -> None:
    """Raise UsageError if other machines could reach a server without keys."""
    if not state.clients.has_keys and not all(is_local(one) for one in sockets):
        raise UsageError(
            "other machines can reach this address, so that a key is needed",
            hint="give --api-key or --api-keys-file, or listen on 127.0.0.1",
        )


def tell_ready(app: AppContext, state: ServerState, sockets: list[socket.socket], setup: Setup) -> None:
    """Say where the server listens, and what it serves."""
    tls = setup.listen.tls_cert is not None
    places = list(dict.fromkeys(address_of(one, tls=tls) for one in sockets))
    bases = [f"{place}/v1" if place.startswith("http") else place for place in places]
    app.console.note(f"serving {', '.join(state.pool.names)} at {', '.join(bases)}")
    if places[0].startswith("http"):
        app.console.note(f"page: {places[0]}/")


def tell_reload(app: AppContext, state: ServerState, setup: Setup, line: Reread) -> None:
    """Read keys and settings again, and say so; wrong ones change nothing."""
    try:
        reload(app, state, setup, line)
    except LlamacliError as error:
        app.console.warn(f"keys and settings stay as they are: {error}")
    else:
        app.console.note("read keys and settings again")
