"""A request in flight, as the thread that waits for its events sees it."""

from __future__ import annotations

from collections import deque

from llamacli.engine.events import Event
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.sequence import Sequence
from llamacli.errors import CancelledError


class Ticket:
    """A request in flight: its events that are not yet taken, and the error that ended it, if any."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.sequence: Sequence | None = None
        self.events: deque[Event] = deque()
        self.error: BaseException | None = None
        self.left = False

    @property
    def is_ready(self) -> bool:
        """True if there is something to take."""
        return bool(self.events) or self.error is not None or self.left

    def check(self) -> None:
        """Raise CancelledError if the caller left, or the error that ended the request."""
        if self.left:
            raise CancelledError("the call was cancelled")
        if self.error is not None:
            raise self.error
