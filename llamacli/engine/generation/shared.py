"""One scheduler for many threads, without its own thread: a caller that waits for an event steps for all of them.

A lone caller pays for a few locks a step and nothing else. The requests of several callers run side by side on the sequences
of one batch; a caller that takes its events slowly, or leaves, does not delay the others. (A thread of its own with a queue
would cost a switch of threads for each step, on cores that compute.)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from llamacli.engine.events import Event, Failed, Finished
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.generation.ticket import Ticket
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import CancelledError, ClosedError, UsageError

_PATIENCE_SECONDS = 0.2

AHEAD = 4
"""Requests of one call that wait for each place: the scheduler sees who shares a prefix, and fills a free place at once."""

T = TypeVar("T")

Source = Iterator[tuple[int, Request] | None]
"""Numbered requests of one call."""


class SharedScheduler:
    """Runner of requests from any thread. `close()` makes waiting calls raise ClosedError.

    `_changed` guards what `submit`, `leave` and a step share: the queued and running requests, and the owner of the cancel
    flag. `_stepping` is held by the thread that steps.
    """

    def __init__(self, scheduler: Scheduler, flag: CancelFlag) -> None:
        self.scheduler = scheduler
        self._flag = flag
        self._stepping = threading.Lock()
        self._stepper: int | None = None
        self._changed = threading.Condition()
        self._inbox: deque[Ticket] = deque()
        self._running: dict[int, Ticket] = {}
        self._cancelled = False  # the flag is set for all that run
        self._cut_short = False  # the flag is set only for the step of a request whose caller left
        self._closed = False
        self._afterwards: list[Callable[[], None]] = []

    def stream(
        self, source: Source, cancel: Canceller | None = None, on_wait: Callable[[], None] = lambda: None
    ) -> Generator[tuple[int, Event], None, None]:
        """Yield the events of requests with their numbers; the last of each request is `Finished` or `Failed`.

        A request is taken from `source` when a place is near; a None there means: none at the moment, ask again after an event.
        Closing the iterator ends the requests, as `cancel` does. `on_wait` is called when all events so far were taken, before
        the next ones are computed or waited for.

        Raises:
            ClosedError: if `close()` was called.
            CancelledError: if `cancel` was set.
            UsageError: if the thread is in the middle of a step of this scheduler.
            Exception: what `Scheduler.step` raises.
        """
        self._require_no_callback()
        running: dict[int, Ticket] = {}
        if cancel is not None:
            cancel.then(lambda: self._leave_all(list(running.values())))
        try:
            while self._fill(running, source, cancel):
                if not _is_any_ready(running.values()):
                    on_wait()
                while not _is_any_ready(running.values()):
                    self._require_open()
                    if not self._acquire():
                        self._wait(running.values())
                        continue
                    with self._turn():
                        if not _is_any_ready(running.values()) and self._take_in():
                            self._distribute(self.scheduler.step())
                yield from self._take(running)
        finally:
            self._leave_all(list(running.values()))

    def _take(self, running: dict[int, Ticket]) -> Iterator[tuple[int, Event]]:
        """Yield the events that are ready, and remove the requests that ended."""
        for number, ticket in list(running.items()):
            while ticket.events:
                event = ticket.events.popleft()
                if isinstance(event, Finished | Failed):
                    del running[number]
                    self._require_open_after(event)
                yield number, event
            ticket.check()

    def _require_no_callback(self) -> None:
        if self._is_stepping_here:
            raise UsageError("this thread is in the middle of a step of this model: a callback of a step cannot generate")

    def _require_open_after(self, event: Event) -> None:
        """Raise ClosedError if closing is what cancelled a request."""
        if isinstance(event, Finished) and event.reason == "cancelled":
            self._require_open()

    def _fill(self, running: dict[int, Ticket], source: Source, cancel: Canceller | None) -> bool:
        """Submit requests until enough of them wait. Return whether any is running or waiting."""
        while len(running) < self.scheduler.limit * (1 + AHEAD):
            entry = next(source, None)
            if entry is None:
                break
            number, request = entry
            running[number] = self.submit(request)
            if cancel is not None and cancel.is_set:
                self.leave(running[number])
        return bool(running)

    def between_steps(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, which uses the context, between two steps.

        Raises:
            ClosedError: if `close()` was called.
            UsageError: if the thread is in the middle of a step of this scheduler.
        """
        self._require_no_callback()
        self._acquire(blocking=True)
        try:
            self._require_open()
            return work()
        finally:
            self._release()

    @property
    def is_idle(self) -> bool:
        """True if no request is queued or running."""
        return not self._inbox and not self._running

    @property
    def is_cancelled(self) -> bool:
        """True if the running and queued requests were cancelled."""
        return self._flag.is_set and (self._cancelled or not self._cut_short)

    @property
    def _is_stepping_here(self) -> bool:
        return self._stepper == threading.get_ident()

    def submit(self, request: Request) -> Ticket:
        """Queue a request."""
        ticket = Ticket(request)
        with self._changed:
            self._require_open()
            if self.is_idle:
                self._clear_flag()  # of a cancel that found no request
            self._inbox.append(ticket)
        return ticket

    def cancel(self) -> None:
        """End all requests. Safe from any thread and from a signal handler."""
        self._cancelled = True
        self._flag.set()

    def leave(self, ticket: Ticket) -> None:
        """End a request whose caller left; the others continue.

        Safe from any thread, also in the middle of a step (when a generator is collected there), and after the request has
        ended. A thread that waits for its events gets CancelledError.
        """
        ticket.left = True
        if ticket.sequence is not None and ticket.sequence.finished:
            return
        with self._changed:
            if list(self._running.values()) == [ticket] and self._stepping.locked():
                self._cut_short = True  # it is alone: no other request needs the running step
                self._flag.set()
            self._changed.notify_all()
        if self._acquire():
            self._release()

    def _leave_all(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            self.leave(ticket)

    def _wait(self, tickets: Iterable[Ticket]) -> None:
        """Wait for the thread that steps."""
        with self._changed:
            if not _is_any_ready(tickets) and self._stepping.locked():
                self._changed.wait(_PATIENCE_SECONDS)

    def _acquire(self, *, blocking: bool = False) -> bool:
        """Return True if this thread may step now; `blocking` waits until it may."""
        if not self._stepping.acquire(blocking=blocking):
            return False
        self._stepper = threading.get_ident()
        return True

    def _release(self) -> None:
        """Let other threads step, after the requests whose callers left meanwhile are dropped."""
        while True:
            try:
                if self._has_leavers():
                    self._drop_leavers()
            finally:
                self._stepper = None
                self._stepping.release()
            if not self._has_leavers() or not self._acquire():
                break
        with self._changed:
            self._changed.notify_all()
        while self._afterwards:
            self._afterwards.pop()()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The turn of the thread that holds `_stepping`; what fails in it fails all requests."""
        try:
            yield
        except BaseException as error:
            self._fail_all(error)
            raise
        finally:
            self._release()

    def _distribute(self, events: Iterable[Event]) -> None:
        """Hand events to their tickets."""
        for event in events:
            ticket = self._running.get(event.sequence)
            if ticket is not None:
                ticket.events.append(event)
                if isinstance(event, Failed | Finished):
                    del self._running[event.sequence]
        if self._flag.is_set and self.scheduler.is_idle and not self._closed:
            self._clear_flag()

    def _take_in(self) -> bool:
        """Hand what was queued to the scheduler; until then it stays queued for other threads. Return whether to step."""
        if not self._inbox and not self._has_leavers():
            return not self._closed
        queued = list(self._inbox)
        for ticket in queued:
            if not ticket.left:
                try:
                    ticket.sequence = self.scheduler.submit(ticket.request)
                except Exception as error:  # noqa: BLE001 - it belongs to the caller of this request only
                    ticket.events.append(Failed(-1, error))
        with self._changed:  # from here on `leave` sees the other requests
            for ticket in queued:
                self._inbox.remove(ticket)
                if ticket.sequence is not None:
                    self._running[ticket.sequence.id] = ticket
            self._drop_leavers()
        return not self._closed

    def _has_leavers(self) -> bool:
        return self._cut_short or any(ticket.left for ticket in [*self._inbox, *self._running.values()])

    def _drop_leavers(self) -> None:
        """End the requests whose callers left, and clear the flag that cut their step short.

        Only for the thread that holds `_stepping`.
        """
        with self._changed:
            for ticket in [ticket for ticket in self._inbox if ticket.left]:
                self._inbox.remove(ticket)
            for identity, ticket in list(self._running.items()):
                if ticket.left and ticket.sequence is not None:
                    self.scheduler.cancel(ticket.sequence)
                    del self._running[identity]
            if self._cut_short and not self._cancelled and not self._closed:
                self._clear_flag()
            self._cut_short = False

    def _clear_flag(self) -> None:
        self._cancelled = self._cut_short = False
        self._flag.clear()

    def _fail_all(self, error: BaseException) -> None:
        """Fail all requests: the batch failed, and it held the tokens of all of them.

        An interrupt belongs to the stepping thread; it cancels the others.
        """
        shared = error if isinstance(error, Exception) else CancelledError("another thread of this program was interrupted")
        self.scheduler.reset()
        with self._changed:
            self._end_tickets(shared)

    def _end_tickets(self, error: Exception) -> None:
        """Make the calls that wait for any request raise this error."""
        for ticket in [*self._inbox, *self._running.values()]:
            ticket.error = error
        self._inbox.clear()
        self._running.clear()

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the engine was closed")

    def close(self, afterwards: Callable[[], None] = lambda: None) -> None:
        """End everything: running calls raise ClosedError, the scheduler is emptied, and `afterwards` is called.

        All of it has happened on return, unless this is called in the middle of a step, by a signal handler or a callback of a
        request: then it happens at the end of the step.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._flag.set()
        if self._is_stepping_here:
            self._afterwards.append(lambda: self._finish(afterwards))
        else:
            self._finish(afterwards)

    def _finish(self, afterwards: Callable[[], None]) -> None:
        with self._stepping:
            self._end_tickets(ClosedError("the engine was closed"))
            self.scheduler.reset()
            self._clear_flag()
        with self._changed:
            self._changed.notify_all()
        afterwards()


def _is_any_ready(tickets: Iterable[Ticket]) -> bool:
    return any(ticket.is_ready for ticket in tickets)
