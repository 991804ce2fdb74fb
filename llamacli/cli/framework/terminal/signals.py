"""Ctrl-C and SIGTERM, handled at once even while the main thread computes in C.

Python runs signal handlers between bytecodes of the main thread, so that a handler waits for the end of a long prefill. The C
part of a handler runs at once and writes the signal's number to the wakeup descriptor, which a thread reads.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from llamacli.errors import CancelledError

GRACE_SECONDS = 0.15
"""Time for cancelled work to stop before the process is ended."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(SystemExit):
    """SIGTERM arrived. Like KeyboardInterrupt it is not an Exception, so that nothing takes it for a failure.

    A SystemExit, which asyncio lets through: any other BaseException in a callback of its loop is logged, and forgotten.
    """


class Guard:
    """Work that a signal cancels instead of interrupting. `received` is the signal that cancelled it, or None.

    `cancel` is called on another thread and must make the work return soon. While it is None, a signal raises
    KeyboardInterrupt or Terminated in the main thread. With `grace` None the process is never ended, however many signals
    arrive: a conversation outlives its answers.
    """

    def __init__(self, grace: float | None) -> None:
        self.grace = grace
        self.cancel: Callable[[], None] | None = None
        self.received: int | None = None


class Interrupts:
    """Handlers of SIGINT and SIGTERM, installed on the main thread.

    Until `start` is called, which is when a command runs, a signal ends the process at once: Python is still importing.
    Outside a guard, it raises KeyboardInterrupt or Terminated. Inside one it cancels the work, and ends the process
    if the work does not stop within the grace. A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self._guard: Guard | None = None
        self._count = 0
        self._started = False

    def start(self) -> None:
        """From now on, signals end the work in order."""
        self._started = True

    @contextlib.contextmanager
    def guard(self, *, grace: float | None = GRACE_SECONDS) -> Iterator[Guard]:
        """Guard the block. If a signal cancelled its work, raise the signal's exception when the work has ended.

        Within a guarded block, an inner one takes its place until it ends.
        """
        outer, guard = self._guard, Guard(grace)
        self._guard = guard
        self._count = 0
        self.start()
        try:
            yield guard
        except CancelledError:  # the cancelled work's own error: the signal says more, and has its own exit status
            if guard.received is None:
                raise
        finally:
            self._guard = outer
        if guard.received is not None:
            raise _exception(guard.received)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Install the handlers for the block. Signals that the parent process ignores stay ignored."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        handlers = {
            number: signal.signal(number, self._handle) for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN
        }
        handlers |= _pause_children_on_suspension()
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
        """Read the number of each signal, on a thread, until the pipe is closed."""
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
        if not self._started:
            _end(number)
        raise _exception(number)


def _pause_children_on_suspension() -> dict[signal.Signals, Any]:
    """Handle Ctrl-Z: the engine's process does not get the terminal's signals. Return the handlers from before."""
    if signal.getsignal(signal.SIGTSTP) != signal.SIG_DFL:
        return {}
    return {signal.SIGTSTP: signal.signal(signal.SIGTSTP, _suspend)}


def _suspend(number: int, _frame: FrameType | None) -> None:
    """Stop the children and this process, and go on with them when the shell says so."""
    children = sys.modules.get("llamacli.backend.child.process.running")  # without it there are none
    if children is not None:
        children.pause_children()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.signal(number, _suspend)
    if children is not None:
        children.resume_children()


def _end(number: int) -> None:
    """End the process at once. Output is not buffered; a newline keeps the shell's prompt on a separate line."""
    files = sys.modules.get("llamacli.store.files.new_file")
    if files is not None:
        files.remove_unfinished()
    if os.isatty(2):
        os.write(2, b"\n")
    os._exit(128 + number)


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()
