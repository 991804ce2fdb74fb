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
        self._is_over = False

    def start(self, *, ends_process: bool) -> None:
        """Start to send. `ends_process`: without the other end this process has no purpose."""
        threading.Thread(target=self._send_all, args=(ends_process,), name="outbox", daemon=True).start()

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

    def _send_all(self, ends_process: bool) -> None:
        while not self._is_over:
            with self._changed:
                self._changed.wait_for(lambda: self._messages or self._is_over)
                messages, self._messages = self._messages, deque()
            try:
                for message in _together(messages):
                    self._channel.send(message)
            except OSError:  # the other end has gone
                if ends_process:
                    os._exit(0)
                return


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
