"""Ctrl-C and SIGTERM, noticed at once even while the main thread computes in C.

Python runs its signal handlers between bytecodes of the main thread, so that a handler waits for the end of a long prefill. The
C half of a handler runs at once, though, and writes the signal's number to the wakeup descriptor: a thread waits there.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

GRACE_SECONDS = 0.15
"""How long cancelled work may take to stop before the process is ended under it."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """SIGTERM arrived. Like KeyboardInterrupt it is no Exception, so that nothing takes it for a failure."""


class Guard:
    """Work that a signal cancels instead of tearing apart. `received` is the signal that did, or None.

    `cancel` is called on another thread, must be safe there, and must make the work return soon. While it is None a signal
    raises KeyboardInterrupt or Terminated in the main thread, as everywhere else. `grace` None never ends the process, however
    many signals come: a conversation outlives its answers.
    """

    def __init__(self, grace: float | None) -> None:
        self.grace = grace
        self.cancel: Callable[[], None] | None = None
        self.received: int | None = None


class Interrupts:
    """The handlers of SIGINT and SIGTERM while its `with` block runs, which must be on the main thread.

    Outside of a guard a signal raises KeyboardInterrupt or Terminated. Inside of one it also cancels the work, and ends the
    process if the work does not stop within the grace. A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self._guard: Guard | None = None
        self._count = 0

    @contextlib.contextmanager
    def guard(self, *, grace: float | None = GRACE_SECONDS) -> Iterator[Guard]:
        """Protects the block. If a signal cancelled its work and the work ended in order, raises what the signal stands for."""
        guard = self._guard = Guard(grace)
        self._count = 0
        try:
            yield guard
        finally:
            self._guard = None
        if guard.received is not None:
            raise _exception(guard.received)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Takes the signals over, and gives them back. Signals that the parent process ignores stay ignored."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        handlers = {
            number: signal.signal(number, self._handle) for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN
        }
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.close(writer)
            watcher.join()
            os.close(reader)

    def _watch(self, reader: int) -> None:
        """The thread: reads the number of each signal until the pipe is closed."""
        deadline: int | None = None
        while True:
            guard = self._guard
            timeout = guard.grace if deadline is not None and guard is not None else None
            if not select.select([reader], [], [], timeout)[0]:
                if deadline is not None and guard is self._guard:
                    _end(deadline)
                deadline = None
                continue
            numbers = os.read(reader, 16)
            if not numbers:
                return
            for number in numbers:
                if number in _SIGNALS:
                    deadline = number
                    self._notice(number)

    def _notice(self, number: int) -> None:
        guard = self._guard
        self._count += 1
        if self._count > 1 and (guard is None or guard.grace is not None):
            _end(number)
        if guard is not None and guard.cancel is not None:
            guard.cancel()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        guard = self._guard
        if guard is not None and guard.cancel is not None:
            guard.received = number
            return
        raise _exception(number)


def _end(number: int) -> None:
    """Ends the process at once. What was written is out already; the shell's prompt gets a line of its own."""
    if os.isatty(2):
        os.write(2, b"\n")
    os._exit(128 + number)


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()
