"""A child in the eyes of its parent: calls, streams, and its death.

One thread receives, so that a signal in the middle of a frame loses nothing. A call waits on a queue of its own. What a child
may send ahead is bounded by credit, so that a consumer that waits (a paused pipe) stops the engine.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from llamacli.backend.child.process.launch import Launched
from llamacli.backend.child.process.running import running
from llamacli.backend.child.process.stream import LEAVING_SECONDS, ItemStream, Message, PendingCall, Receiver, Source
from llamacli.backend.child.process.vitals import Vitals
from llamacli.backend.child.wire.codec import ProtocolError
from llamacli.backend.child.wire.frames import (
    Alive,
    Call,
    Cancel,
    Channel,
    Failure,
    Feed,
    FromChild,
    Grant,
    LogLine,
    Ready,
    Result,
    Start,
)  # fmt: skip
from llamacli.backend.child.wire.method import Method, encoder_of
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import ClosedError, EngineError, LlamacliError

_WATCH_SECONDS: Final = 1.0


class Child:
    """A started child. `close()` ends it and may be called twice.

    It is ended when it makes no progress for `patience` seconds. `model` and those of the RPC `nodes` that are gone are named
    in the error about its death. `descriptors` go with the first message.
    """

    def __init__(
        self,
        launched: Launched,
        start: Start,
        *,
        patience: float,
        model: Path | None = None,
        nodes: Sequence[str] = (),
        descriptors: Sequence[int] = (),
    ) -> None:
        self._launched = launched
        self._model, self._nodes = model, nodes
        self._channel = Channel(launched.connection)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: dict[int, PendingCall] = {}
        self._end: Exception | None = None
        self._closing = False
        self._ready = threading.Event()
        self._hung: Exception | None = None
        self._gone = threading.Event()
        self._receiver: Receiver | None = None
        self.vitals = Vitals()
        self.missing: tuple[str, ...] = ()
        self._reader = threading.Thread(target=self._receive_all, name="llamacli-engine", daemon=True)
        self.send(start, descriptors)
        try:
            self._reader.start()
            threading.Thread(target=self._watch, args=(patience,), name="llamacli-watch", daemon=True).start()
        except RuntimeError as error:
            self._channel.close()
            launched.stderr.close()
            launched.wait()
            raise EngineError("cannot start a thread for the engine: the system allows no more (ulimit -u)") from error
        running.add(self)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._launched.pid

    @property
    def is_alive(self) -> bool:
        """False once it has ended, for whatever reason."""
        return self._end is None

    def wait_for_end(self, seconds: float) -> Exception | None:
        """Wait so long at most for its end, and return why it came; None if it has not come."""
        return self._end if self._gone.wait(seconds) else None

    def wait_until_ready(self) -> bool:
        """Wait until the child has turned to this connection. Return False if it has ended instead."""
        self._ready.wait()
        return self.is_alive

    # --- calls ----------------------------------------------------------------------------------------------------------

    def call(
        self,
        method: Method,
        arguments: Any = None,
        *,
        on_item: Callable[[Any], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
        descriptors: Sequence[int] = (),
    ) -> Any:
        """Make a call and return its result; `on_item` receives what it streams, and `meanwhile` runs when it is sent.

        Raises:
            EngineDiedError, MemoryFullError: if the child dies.
            ClosedError: if it was closed.
            LlamacliError: what the method raises.
        """
        stream = self.stream(method, arguments, meanwhile=meanwhile, descriptors=descriptors)
        while True:
            try:
                item = next(stream)
            except StopIteration as stopped:
                return stopped.value
            if on_item is not None:
                on_item(item)

    def tell(self, method: Method, arguments: Any = None) -> None:
        """Make a call whose end nobody waits for. A child that has ended ignores it."""
        self.send(Call(next(self._numbers), method.name, msgspec.Raw(self.pack(method, arguments)), 0, 0))

    def stream(
        self,
        method: Method,
        arguments: Any = None,
        *,
        lockstep: Callable[[Any], bool] | None = None,
        source: Source | None = None,
        cancel: Canceller | None = None,
        meanwhile: Callable[[], None] | None = None,
        descriptors: Sequence[int] = (),
    ) -> Generator[Any, Any, Any]:
        """Make a call, yield its items, and return its result. Closing the iterator ends the call in the child.

        As long as `lockstep` is true for the items, the child computes the next one only when it is asked for. `source` is
        called for items that the child wants. A value that is sent into the iterator goes to the child as an item. `cancel`
        ends the call from any thread. `meanwhile` runs as soon as the call is sent. Raises as `call`.
        """
        number = next(self._numbers)
        stream = ItemStream(self.send, number, method, lockstep, source)
        call = PendingCall(number, stream.messages.put, method.is_retried)
        self._submit(call, method, self.pack(method, arguments), stream.credit, descriptors)
        if cancel is not None:
            cancel.then(lambda: self.end(call))
        try:
            if meanwhile is not None:
                meanwhile()
            return (yield from stream.read())
        finally:
            if self._runs(call):
                self.send(Cancel(call.id))
                stream.drain()

    @staticmethod
    def pack(method: Method, arguments: object) -> bytes:
        """Return the arguments of a call for the wire. Raises UsageError as `encode`."""
        return encoder_of(method.arguments)(arguments)

    def begin(self, method: Method, packed: bytes, credit: int, deliver: Callable[[Message], None]) -> PendingCall:
        """Make a call whose messages `deliver` gets, on the thread that receives them. Raises as `call`."""
        call = PendingCall(next(self._numbers), deliver, method.is_retried)
        self._submit(call, method, packed, credit, ())
        return call

    def end(self, call: PendingCall) -> None:
        """End a call in the child, if it runs. Its messages go on until the child has confirmed that."""
        if self._runs(call):
            self.send(Cancel(call.id))

    def _submit(self, call: PendingCall, method: Method, packed: bytes, credit: int, descriptors: Sequence[int]) -> None:
        with self._lock:
            if self._end is not None:
                raise self._end
            self._pending[call.id] = call
        try:
            self.send(Call(call.id, method.name, msgspec.Raw(packed), credit, len(descriptors)), descriptors)
        except LlamacliError:
            with self._lock:
                self._pending.pop(call.id, None)
            raise

    def _runs(self, call: PendingCall) -> bool:
        with self._lock:
            return call.id in self._pending and self._end is None

    def send(self, message: Start | Call | Feed | Grant | Cancel, descriptors: Sequence[int] = ()) -> None:
        """Send a message. To a dead child it is lost: the receiving thread ends all calls."""
        with contextlib.suppress(OSError):
            self._channel.send(message, descriptors=descriptors)

    # --- what arrives ---------------------------------------------------------------------------------------------------

    def hand_over(self, receiver: Receiver) -> None:
        """Let another receive in place of the thread, from the next message on."""
        self._receiver = receiver

    def _receive_all(self) -> None:
        end: Exception | None = None
        try:
            while (message := self._channel.receive(FromChild)) is not None:
                self._dispatch(cast("FromChild", message))
                if self._receiver is not None:
                    self._receiver.run(self._channel, self._dispatch)
                    break
        except ProtocolError as error:
            end = error
            self.send_signal(signal.SIGKILL)
        self._bury(end)

    def _dispatch(self, message: FromChild) -> None:
        if isinstance(message, Alive):
            self.vitals.note(message)
            return
        self.vitals.still = 0
        if isinstance(message, LogLine):
            logging.getLogger(message.logger).log(message.level, "%s", message.text)
        elif isinstance(message, Ready):
            self.missing = message.missing
            self._ready.set()
        else:
            with self._lock:
                call = self._pending.get(message.id)
                if isinstance(message, Result | Failure):
                    self._pending.pop(message.id, None)
            if call is not None:
                call.deliver(message)

    def _bury(self, end: Exception | None) -> None:
        """Wait for the child's end, and end all calls with its reason."""
        status = self._launched.wait()
        limit: Exception | None = None
        if not self._closing:  # nodes are asked meanwhile, so the lock is not held
            from llamacli.backend.child.process.death import died, exceeded, log_last_words  # most children are closed

            end = end or self._hung or died(status, self._launched.stderr, self.vitals, self._model, self._nodes)
            log_last_words(end)
            limit = exceeded(status)
        with self._lock:
            self._end = ClosedError("the engine was closed") if self._closing or end is None else end
            waiting, self._pending = list(self._pending.values()), {}
        for call in waiting:
            call.deliver(self._end if limit is None or call.is_retried else limit)
        self._ready.set()
        self._channel.close()
        self._launched.stderr.close()
        if self._launched.held is not None:
            self._launched.held.close()
        self._gone.set()

    def _watch(self, patience: float) -> None:
        """End the child when it hangs. The seconds are counted, so that a stopped parent does not count them."""
        while not self._gone.wait(_WATCH_SECONDS):
            with self._lock:
                is_busy = bool(self._pending) and self._ready.is_set()  # a resident may serve others first
            self.vitals.still = self.vitals.still + _WATCH_SECONDS if is_busy else 0
            if self.vitals.still >= patience:
                from llamacli.backend.child.process.death import hung

                self._hung = hung(patience)
                self.send_signal(signal.SIGKILL)
                return

    # --- the end --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the child and wait for its end. Calls that wait raise ClosedError."""
        with self._lock:
            self._closing = True
        self._channel.shut_down()
        if self._receiver is not None:
            self._receiver.stop()
        if threading.current_thread() is not self._reader:
            self._reader.join(LEAVING_SECONDS)
            if self._reader.is_alive():
                self.send_signal(signal.SIGKILL)
                self._reader.join()

    def abandon(self) -> None:
        """End the child although it was to stay: it has no model."""
        self.send_signal(signal.SIGTERM)
        self.close()

    def send_signal(self, number: int) -> None:
        """Send a signal to the child, if it has not ended."""
        if self._end is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._launched.pid, number)
