"""The main program of a child. It serves its parent, or as a resident one connection after another until nobody comes.

A module of `services` has a function `service()` that returns its handlers by method.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from llamacli.backend.child.sandbox import apply_sandbox
from llamacli.backend.child.sandbox.environment import clear_environment
from llamacli.backend.child.sandbox.paths import gpu_devices
from llamacli.backend.child.wire.faults import Fault, fault_of
from llamacli.backend.child.wire.frames import Channel, Ready, Start, ToChild
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work import log
from llamacli.backend.child.work.connection import Connection, Handler, Service
from llamacli.backend.child.work.limits import (
    apply_limits,
    bound_native_work,
    close_inherited,
    count_memory_while,
    die_with_parent,
    end_with,
    outlive_parent,
)  # fmt: skip
from llamacli.backend.child.work.workers import Workers
from llamacli.engine.runtime import bounds
from llamacli.errors import SandboxError

_STACK_BYTES: Final = 64 << 20
"""Address space for the stack of a thread: some of the native code recurses."""

_MOST_CALLS: Final = 256
_STDERR: Final = 2
_ALIVE_SECONDS: Final = 0.5
_LEAVING_SECONDS: Final = 10.0


def main(descriptor: int, services: Sequence[str], *, parent: int, is_forked: bool = False) -> NoReturn:
    """Serve until the parent closes its end or dies. `is_forked`: its main thread forked this process."""
    if is_forked:
        die_with_parent(parent)
    close_inherited({0, 1, 2, descriptor})
    wait_for_parent = end_with(parent)
    clear_environment()
    os.environ["GGML_NO_BACKTRACE"] = "1"  # it would start a debugger
    faulthandler.enable(_STDERR)  # the parent reads what was done when a signal ended this process (`process.death`)
    apply_limits()
    bounds.install(bound_native_work)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()
    threading.stack_size(_STACK_BYTES)
    channel = Channel(socket.socket(fileno=descriptor))
    handlers: dict[Method, Handler] = {}
    fault: Fault | None = None
    try:
        for name in services:
            handlers |= importlib.import_module(name).service()
    except Exception as error:  # noqa: BLE001 - a missing library, for example: the parent raises it
        fault = fault_of(error)
    start = channel.receive(ToChild)
    if isinstance(start, Start):
        Worker(handlers, fault).serve(channel, start, wait_for_parent)
    os._exit(0)


class Worker:
    """Serves connections, one at a time. `fault` is why there are no handlers."""

    def __init__(self, handlers: Service, fault: Fault | None = None) -> None:
        self._handlers, self._fault = handlers, fault
        self._workers = Workers(_MOST_CALLS)
        self._connection: Connection | None = None
        count_memory_while(lambda: self._connection is None or self._connection.is_alone)

    def serve(self, channel: Channel, start: Start, wait_for_parent: Callable[[], None] | None) -> None:
        """Serve the parent, then, if this child is to stay, whoever comes before the time is over.

        `wait_for_parent` is run on a thread unless the child is to stay.
        """
        listener = None
        if start.keep_alive is not None:
            outlive_parent()
            (descriptor,) = channel.take_descriptors(1)
            listener = socket.socket(fileno=descriptor)
        missing = self._enter_sandbox(start)
        if listener is None and wait_for_parent is not None:
            threading.Thread(target=wait_for_parent, name="parent", daemon=True).start()
        threading.Thread(target=self._stay_alive, name="alive", daemon=True).start()
        self._serve_one(channel, start, missing)
        while listener is not None and (following := self._accepted(listener, start.keep_alive)) is not None:
            first = following.receive(ToChild)
            if isinstance(first, Start):
                self._serve_one(following, first, missing)
            else:
                following.close()

    def _serve_one(self, channel: Channel, start: Start, missing: tuple[str, ...]) -> None:
        connection = self._connection = Connection(channel, self._handlers, self._workers, self._fault)
        log.send_to(connection.outbox, start.log_level)
        connection.outbox.start(ends_process=start.keep_alive is None)
        connection.outbox.put(Ready(missing))
        connection.serve()
        if not connection.close(_LEAVING_SECONDS):
            os._exit(1)  # a call that does not end: nobody else may wait for it

    def _accepted(self, listener: socket.socket, seconds: float | None) -> Channel | None:
        """Return the next connection, None if nobody comes in time."""
        listener.settimeout(seconds)
        try:
            accepted, _ = listener.accept()
        except TimeoutError:
            return None
        accepted.settimeout(None)
        return Channel(accepted)

    def _enter_sandbox(self, start: Start) -> tuple[str, ...]:
        """Enter the sandbox, before the first thread starts, and return what it lacks. Without what is required, do no work."""
        if start.sandbox == "off":
            return ()
        report = apply_sandbox(
            [Path(read) for read in start.reads],
            writes=[Path(write) for write in start.writes],
            devices=gpu_devices(),
            accepts=start.keep_alive is not None,
            network=start.network,
            folder=Path(start.folder) if start.folder is not None else None,
        )
        if start.sandbox == "require":
            try:
                report.require_complete()
            except SandboxError as error:
                self._fault, self._handlers = fault_of(error), {}
        return report.missing

    def _stay_alive(self) -> None:
        """Send a sign of life now and then while calls run."""
        while True:
            time.sleep(_ALIVE_SECONDS)
            if self._connection is not None:
                self._connection.send_sign_of_life()
