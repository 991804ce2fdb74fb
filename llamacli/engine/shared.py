"""One scheduler for many threads, without a thread of its own: whoever waits for an event steps for everybody.

A lone caller pays for a few locks a step and nothing else. With many callers their requests run side by side on the sequences
of one batch; a caller that is slow to take its events, or that goes away, holds nobody up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator

from llamacli.engine.cancel import CancelFlag
from llamacli.engine.events import Event, Failed, Finished
from llamacli.engine.scheduler import Scheduler
from llamacli.engine.sequence import Request, Sequence
from llamacli.errors import CancelledError, ClosedError, LlamacliError

_PATIENCE_SECONDS = 0.2


class Ticket:
    """A request on its way: its events that nobody has taken yet, and the error that ended it, if one did."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.sequence: Sequence | None = None
        self.events: deque[Event] = deque()
        self.error: BaseException | None = None
        self.left = False

    @property
    def is_ready(self) -> bool:
        """Whether there is something to take."""
        return bool(self.events) or self.error is not None


class SharedScheduler:
    """Runs requests from any thread. `close()` makes the calls that are waiting raise ClosedError."""

    def __init__(self, scheduler: Scheduler, flag: CancelFlag) -> None:
        self.scheduler = scheduler
        self._flag = flag
        self._stepping = threading.Lock()
        self._changed = threading.Condition()
        self._inbox: deque[Ticket] = deque()
        self._running: dict[int, Ticket] = {}
        self._cut_short = False  # the flag is set for the step of a request whose caller left, and for nobody else's
        self._closed = False

    def events(self, request: Request) -> Generator[Event, None, None]:
        """The events of one request, the last of them `Finished`. Closing the iterator ends the request.

        Raises:
            ClosedError: `close()` was called.
            LlamacliError: what `Scheduler.submit` and `Scheduler.step` raise, and the request's own failure.
        """
        ticket = self.submit(request)
        try:
            while True:
                event = self._next(ticket)
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self.leave(ticket)

    @property
    def is_idle(self) -> bool:
        """Whether no request is queued or running."""
        return not self._inbox and not self._running

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody cancelled what runs and what is queued."""
        return self._flag.is_set and not self._cut_short

    def submit(self, request: Request) -> Ticket:
        """Queues a request."""
        ticket = Ticket(request)
        with self._changed:
            self._require_open()
            if self.is_idle:
                self._flag.clear()  # a cancel that nobody was left to obey
            self._inbox.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Ends a request whose events nobody wants any more; what others run goes on.

        Safe from any thread, also from one that is in the middle of a step (a generator that is collected there), and when the
        request has ended.
        """
        ticket.left = True
        if ticket.sequence is not None and ticket.sequence.finished:
            return
        with self._changed:
            if list(self._running.values()) == [ticket] and self._stepping.locked():
                self._cut_short = True  # it is alone: the step under way is for nobody
                self._flag.set()
        if self._stepping.acquire(blocking=False):
            self._release()

    def _next(self, ticket: Ticket) -> Event:
        while True:
            if ticket.events:
                event = ticket.events.popleft()
                if isinstance(event, Finished) and event.reason == "cancelled":
                    self._require_open()  # closing is what cancelled it
                return event
            if ticket.error is not None:
                raise ticket.error
            self._require_open()
            if self._stepping.acquire(blocking=False):
                try:
                    if not ticket.is_ready:
                        self._step()
                finally:
                    self._release()
            else:
                with self._changed:
                    if not ticket.is_ready and self._stepping.locked():
                        self._changed.wait(_PATIENCE_SECONDS)

    def _release(self) -> None:
        """Lets others step. Who left meanwhile could not take its request away, so that is done here."""
        while True:
            try:
                self._drop_leavers()
            finally:
                self._stepping.release()
            if not self._has_leavers() or not self._stepping.acquire(blocking=False):
                break
        with self._changed:
            self._changed.notify_all()

    def _step(self) -> None:
        """Takes in what was queued and evaluates one batch. Only for the thread that holds `_stepping`."""
        admitted = []
        while self._inbox:
            admitted.append(self._admit(self._inbox.popleft()))
        with self._changed:  # from here on `leave` knows that nobody is alone
            self._running |= {ticket.sequence.id: ticket for ticket in admitted if ticket.sequence is not None}
            self._drop_leavers()
        try:
            events = self.scheduler.step()
        except BaseException as error:
            self._fail_all(error)
            raise
        for event in events:
            ticket = self._running.get(event.sequence)
            if ticket is None:
                continue
            if isinstance(event, Failed):
                ticket.error = event.error
            else:
                ticket.events.append(event)
            if isinstance(event, Failed | Finished):
                del self._running[event.sequence]
        if self._flag.is_set and self.scheduler.is_idle:
            self._flag.clear()

    def _admit(self, ticket: Ticket) -> Ticket:
        """Hands a request to the scheduler. Without a sequence afterwards it was not taken."""
        if not ticket.left:
            try:
                ticket.sequence = self.scheduler.submit(ticket.request)
            except LlamacliError as error:
                ticket.error = error
        return ticket

    def _has_leavers(self) -> bool:
        return any(ticket.left for ticket in [*self._inbox, *self._running.values()])

    def _drop_leavers(self) -> None:
        """Ends the requests whose callers left, and takes back what cut their step short.

        Only for the thread that holds `_stepping`.
        """
        with self._changed:
            for ticket in [ticket for ticket in self._inbox if ticket.left]:
                self._inbox.remove(ticket)
            for identity, ticket in list(self._running.items()):
                if ticket.left and ticket.sequence is not None:
                    self.scheduler.cancel(ticket.sequence)
                    del self._running[identity]
            if self._cut_short:
                self._flag.clear()
                self._cut_short = False

    def _fail_all(self, error: BaseException) -> None:
        """The batch failed, and it held everybody's tokens.

        An interrupt is the stepping thread's own; the others are cancelled by it.
        """
        shared = error if isinstance(error, LlamacliError) else CancelledError("another thread of this program was interrupted")
        for ticket in self._running.values():
            ticket.error = shared
        self._running.clear()

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the engine was closed")

    def close(self) -> None:
        """Ends everything: running calls raise ClosedError, and the scheduler is empty when this returns."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._flag.set()
        with self._stepping:
            for ticket in [*self._inbox, *self._running.values()]:
                ticket.error = ClosedError("the engine was closed")
            self._inbox.clear()
            self._running.clear()
            self.scheduler.reset()
            self._flag.clear()
        with self._changed:
            self._changed.notify_all()
