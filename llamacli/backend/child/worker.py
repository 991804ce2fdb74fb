"""The main loop of a child: it receives calls, works on them on threads, and sends what they yield.

A module of `services` has a function `service()` that returns its handlers by method. A handler gets the arguments and the
`Task`; it returns the result, or an iterator of items if it is a generator function.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import msgspec

from llamacli.backend.child import log
from llamacli.backend.child.codec import ProtocolError
from llamacli.backend.child.faults import Fault, fault_of
from llamacli.backend.child.frames import (
    Alive,
    Call,
    Cancel,
    Channel,
    Failure,
    Feed,
    FromChild,
    Grant,
    Ready,
    Result,
    Start,
    ToChild,
)  # fmt: skip
from llamacli.backend.child.limits import apply_limits, close_inherited, die_with_parent, end_with
from llamacli.backend.child.method import Method, decoder_of, encoder_of
from llamacli.backend.child.outbox import Outbox
from llamacli.backend.child.sandbox import apply_sandbox
from llamacli.backend.child.sandbox.environment import clear_environment
from llamacli.backend.child.sandbox.paths import gpu_devices
from llamacli.backend.child.task import Task
from llamacli.errors import SandboxError

Handler = Callable[[Any, Task], Any]
Service = Mapping[Method, Handler]

_STACK_BYTES: Final = 64 << 20
"""Address space for the stack of a thread: some of the native code recurses."""

_MOST_CALLS: Final = 256
_ALIVE_SECONDS: Final = 0.5


def main(descriptor: int, services: Sequence[str], *, parent: int, is_forked: bool = False) -> NoReturn:
    """Serve until the parent closes its end or dies. `is_forked`: its main thread forked this process."""
    if is_forked:
        die_with_parent(parent)
    close_inherited({0, 1, 2, descriptor})
    wait_for_parent = end_with(parent)
    clear_environment()
    os.environ["GGML_NO_BACKTRACE"] = "1"  # it would start a debugger
    apply_limits()
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
        Worker(channel, handlers, fault).serve(start, wait_for_parent)
    os._exit(0)


class Worker:
    """Works on the calls that a channel brings. `fault` is why there are no handlers, and the answer to every call."""

    def __init__(self, channel: Channel, handlers: Service, fault: Fault | None = None) -> None:
        self._fault = fault
        self._channel = channel
        self._methods = {method.name: (method, handler) for method, handler in handlers.items()}
        self._tasks: dict[int, Task] = {}
        self._outbox = Outbox(channel)
        self._pool = ThreadPoolExecutor(_MOST_CALLS, thread_name_prefix="call")

    def serve(self, start: Start, wait_for_parent: Callable[[], None] | None) -> None:
        """Receive until the other end is closed. `wait_for_parent` is run on a thread."""
        log.send_to(self._outbox, start.log_level)
        missing = self._enter_sandbox(start)
        if wait_for_parent is not None:
            threading.Thread(target=wait_for_parent, name="parent", daemon=True).start()
        self._outbox.start()
        self._outbox.put(Ready(missing))
        threading.Thread(target=self._stay_alive, name="alive", daemon=True).start()
        while (message := self._channel.receive(ToChild)) is not None:
            self._handle(message)

    def _enter_sandbox(self, start: Start) -> tuple[str, ...]:
        """Enter the sandbox, before the first thread starts, and return what it lacks. Without what is required, do no work."""
        if start.sandbox == "off":
            return ()
        report = apply_sandbox([Path(read) for read in start.reads], devices=gpu_devices())
        if start.sandbox == "require":
            try:
                report.require_complete()
            except SandboxError as error:
                self._fault, self._methods = fault_of(error), {}
        return report.missing

    def _handle(self, message: ToChild | FromChild) -> None:
        if isinstance(message, Call):
            self._begin(message)
            return
        task = self._tasks.get(message.id) if isinstance(message, Feed | Grant | Cancel) else None
        if task is None:
            return  # it has ended meanwhile
        if isinstance(message, Feed):
            task.feed(message.items, is_last=message.is_last)
        elif isinstance(message, Grant):
            task.grant(message.credit)
        else:
            task.leave()

    def _begin(self, call: Call) -> None:
        descriptors = self._channel.take_descriptors(call.descriptors)
        try:
            method, handler = self._methods[call.method]
        except KeyError:
            unknown = ProtocolError(f"this engine has no method {call.method}")
            self._outbox.put(Failure(call.id, self._fault or fault_of(unknown)))
            return
        task = self._tasks[call.id] = Task(call.id, method, self._outbox.put, call.credit, descriptors, self._running)
        self._pool.submit(self._work, task, method, handler, call.arguments)

    def _work(self, task: Task, method: Method, handler: Handler, arguments: msgspec.Raw) -> None:
        end: Result | Failure
        try:
            outcome = handler(decoder_of(method.arguments)(arguments), task)
            if inspect.isgenerator(outcome):
                with closing(outcome):
                    task.run(cast("Iterator[Any]", outcome))
                outcome = None
            end = Result(task.id, msgspec.Raw(encoder_of(method.result)(outcome)))
        except BaseException as error:  # noqa: BLE001 - it is raised again by the parent
            end = Failure(task.id, fault_of(error))
        finally:
            for descriptor in task.descriptors:
                os.close(descriptor)
        del self._tasks[task.id]
        self._outbox.put(end)

    def _running(self) -> set[str]:
        return {task.method for task in list(self._tasks.values())}

    def _stay_alive(self) -> None:
        """Send a sign of life now and then while calls run."""
        while True:
            time.sleep(_ALIVE_SECONDS)
            if self._tasks:
                usage = resource.getrusage(resource.RUSAGE_SELF)
                is_working = any(not task.is_waiting for task in list(self._tasks.values()))
                self._outbox.put(Alive(usage.ru_utime + usage.ru_stime, log.memory_in_use(), is_working))
