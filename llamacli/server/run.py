"""A running server: sockets, signals, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from llamacli.errors import UsageError
from llamacli.server.application import make_application
from llamacli.server.http.protocol import Deadlines, H11Connection
from llamacli.server.listen import BACKLOG, notify
from llamacli.server.state import ServerState

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
"""Seconds that a connection without requests stays open: longer than the pools of clients keep theirs."""

ACCEPTED_AT_ONCE = 32
"""Connections that are accepted before what is open gets its turn. More wait in the system's queue, of BACKLOG."""

LAST_SECONDS = 1.0
"""Seconds in which ended answers may tell their clients so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParams:
    """`tls` are the certificate and its key."""

    tls: tuple[Path, Path] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the caller does: `on_ready` when the server listens, `reload` at SIGHUP."""

    on_ready: Callable[[], None] = lambda: None
    reload: Callable[[], None] = lambda: None


def connection_class() -> type[Deadlines]:
    """Return the protocol of connections: on httptools if it is installed, as uvicorn chooses."""
    try:
        from llamacli.server.http.fast_protocol import HttpToolsConnection
    except ImportError:
        return H11Connection
    return HttpToolsConnection


def uvicorn_server(state: ServerState, *, tls: tuple[Path, Path] | None = None) -> uvicorn.Server:
    """Return uvicorn's server of the application. Raises UsageError as `tls_context`."""
    config = uvicorn.Config(
        make_application(state),
        http=connection_class(),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=ACCEPTED_AT_ONCE,
        proxy_headers=False,
    )
    config.load()
    if tls is not None:
        config.ssl = tls_context(*tls)
    return uvicorn.Server(config)


class RunningServer:
    """A server from the first connection to the last. `stop` may be called from the loop: the second time ends it at once."""

    def __init__(self, state: ServerState, sockets: Sequence[socket.socket], params: RunParams, hooks: Hooks) -> None:
        self._state = state
        self._sockets = list(sockets)
        self._params = params
        self._hooks = hooks
        self._failure: Exception | None = None
        self._ending: asyncio.Task[None] | None = None
        state.on_failure = self._fail
        self._server = uvicorn_server(state, tls=params.tls)

    def run(self, environ: Mapping[str, str]) -> None:
        """Serve until a signal ends it.

        Raises:
            LlamacliError: if the default model cannot be loaded.
        """
        raise_file_limit()
        with _signals_restored(), asyncio.Runner() as runner:
            runner.run(self._serve(environ))
        if self._failure is not None:
            raise self._failure

    async def _serve(self, environ: Mapping[str, str]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        ready = asyncio.ensure_future(self._announce(environ))
        try:
            await self._server._serve(self._sockets)  # noqa: SLF001  # `serve` would take the signals
        finally:
            ready.cancel()
            await self._state.pool.close()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _announce(self, environ: Mapping[str, str]) -> None:
        while not self._server.started:
            await asyncio.sleep(0.005)
        for one in self._sockets:
            one.listen(BACKLOG)  # the loop has made it as short as what it accepts at once
        gc.collect()
        gc.freeze()  # what is there now stays: no collection looks at it while streams wait
        self._hooks.on_ready()
        notify(environ, "READY=1")

    def _reload(self) -> None:
        """Read again what may change: the certificate, and what the caller reads. Connections that are open stay."""
        context = self._server.config.ssl
        if self._params.tls is not None and context is not None:
            try:
                tls_context(*self._params.tls)  # a faulty one must not spoil the context that is in use
                context.load_cert_chain(*self._params.tls)
            except UsageError as error:
                logger.error("the certificate stays as it is: %s", error)
        self._hooks.reload()

    def stop(self) -> None:
        """End in order: take no new connections, let answers finish for the time of `drain`. A second call ends them."""
        if self._server.should_exit:
            self._end_answers()
            return
        logger.info("shutting down: running answers get %g seconds", self._state.drain)
        notify(os.environ, "STOPPING=1")
        self._state.is_draining = True
        self._server.should_exit = True
        asyncio.get_running_loop().call_later(self._state.drain, self._end_answers)

    def _end_answers(self) -> None:
        """End what runs and waits: the clients get an error, and a moment later their connections are closed."""
        loop = asyncio.get_running_loop()
        self._ending = loop.create_task(self._state.pool.close())
        loop.call_later(LAST_SECONDS, self._force)

    def _force(self) -> None:
        self._server.force_exit = True

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._server.should_exit = True


@contextlib.contextmanager
def _signals_restored() -> Iterator[None]:
    """Put back the handlers and the wake-up descriptor that the event loop replaces."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    descriptor = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of TLS 1.2 and later. Raises UsageError if the files are not a certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise UsageError(f"the certificate {certificate} and the key {key} cannot be used: {reason}") from error
    return context


def raise_file_limit() -> None:
    """Allow as many open connections as the system permits this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
