"""What a child sends: from any thread, on one thread, several items of a call in one frame.

The thread runs when the one that works is inside C, which is after the last event of a step: so a step is a frame.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from llamacli.backend.child.wire.frames import Channel, FromChild, Items


class Outbox:
    """Queue of messages to the other end. When that has gone, the process ends, or what is still queued is dropped."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._messages: deque[FromChild] = deque()
        self._is_sending = False
        self._is_over = False
        self._ends_process = False

    def start(self, *, ends_process: bool) -> None:
        """Start to send. `ends_process`: without the other end this process has no purpose."""
        self._ends_process = ends_process
        threading.Thread(target=self._send_all, name="outbox", daemon=True).start()

    def stop(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def put(self, message: FromChild) -> None:
        """Queue a message."""
        with self._changed:
            self._messages.append(message)
            self._changed.notify()

    def put_last(self, message: FromChild) -> None:
        """Queue the end of a call. This thread has nothing else to do, so it sends what is queued, unless another does."""
        with self._changed:
            self._messages.append(message)
            if self._is_sending or self._is_over:
                return  # who sends looks again
            self._is_sending = True
        self._send_queued()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_over or (self._messages and not self._is_sending))
                if self._is_over:
                    return
                self._is_sending = True
            self._send_queued()

    def _send_queued(self) -> None:
        """Send what is queued, as the one thread that may; then let the next one."""
        with self._changed:
            messages, self._messages = self._messages, deque()
        try:
            self._channel.send(*_together(messages))
        except OSError:  # the other end has gone
            if self._ends_process:
                os._exit(0)
            self.stop()
        finally:
            with self._changed:
                self._is_sending = False
                if self._messages or self._is_over:
                    self._changed.notify()


def _together(messages: deque[FromChild]) -> list[FromChild]:
    """Return the messages with adjacent items of one call in one message."""
    joined: list[FromChild] = []
    for message in messages:
        last = joined[-1] if joined else None
        if isinstance(message, Items) and isinstance(last, Items) and last.id == message.id:
            last.items.extend(message.items)
        else:
            joined.append(message)
    return joined
