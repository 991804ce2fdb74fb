"""One connection of a child: it receives calls, works on them on threads, and sends what they yield."""

from __future__ import annotations

import inspect
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any, Final, cast

import msgspec

from llamacli.backend.child.wire.codec import ProtocolError
from llamacli.backend.child.wire.faults import Fault, fault_of
from llamacli.backend.child.wire.frames import Alive, Call, Cancel, Channel, Failure, Feed, FromChild, Grant, Result, ToChild
from llamacli.backend.child.wire.method import Method, decoder_of, encoder_of
from llamacli.backend.child.work import log
from llamacli.backend.child.work.outbox import Outbox
from llamacli.backend.child.work.task import Task
from llamacli.backend.child.work.workers import Workers

Handler = Callable[[Any, Task], Any]
"""Works on a call: gets the arguments and the task, and returns the result, or an iterator of items if it is a generator."""

Service = Mapping[Method, Handler]

_POLL_SECONDS: Final = 0.01


class Connection:
    """Works on the calls that a channel brings, on the threads of `workers`.

    `fault` is the answer to every call if there are no handlers.
    """

    def __init__(self, channel: Channel, handlers: Service, workers: Workers, fault: Fault | None) -> None:
        self._channel = channel
        self._fault = fault
        self._methods = {method.name: (method, handler) for method, handler in handlers.items()}
        self._tasks: dict[int, Task] = {}
        self._workers = workers
        self.outbox = Outbox(channel)

    @property
    def is_alone(self) -> bool:
        """True if at most one call runs."""
        return len(self._tasks) <= 1

    def serve(self) -> None:
        """Receive until the other end is closed."""
        while (message := self._channel.receive(ToChild)) is not None:
            self._handle(message)

    def close(self, seconds: float) -> bool:
        """End the calls whose caller has gone. Return whether they ended in time."""
        deadline = time.monotonic() + seconds
        while tasks := list(self._tasks.values()):
            for task in tasks:
                task.leave()
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        self.outbox.stop()
        self._channel.close()
        return True

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
            self.outbox.put(Failure(call.id, self._fault or fault_of(unknown)))
            return
        task = self._tasks[call.id] = Task(call.id, method, self.outbox, call.credit, descriptors, self._running)
        self._workers.submit(partial(self._work, task, method, handler, call.arguments))

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
        self.outbox.put_last(end)

    def _running(self) -> dict[int, str]:
        return {number: task.method for number, task in list(self._tasks.items())}

    def send_sign_of_life(self) -> None:
        """Send a sign of life if calls run."""
        if tasks := list(self._tasks.values()):
            usage = resource.getrusage(resource.RUSAGE_SELF)
            is_working = any(not task.is_waiting for task in tasks)
            self.outbox.put(Alive(usage.ru_utime + usage.ru_stime, log.memory_in_use(), is_working))
