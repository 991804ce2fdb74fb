"""What a child sends: from any thread, on one thread, several items of a call in one frame.

The thread runs when the one that works is inside C, which is after the last event of a step: so a step is a frame.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from llamacli.backend.child.frames import Channel, FromChild, Items


class Outbox:
    """Queue of messages to the parent."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._messages: deque[FromChild] = deque()
        self._thread = threading.Thread(target=self._send_all, name="outbox", daemon=True)

    def start(self) -> None:
        """Start to send."""
        self._thread.start()

    def put(self, message: FromChild) -> None:
        """Queue a message."""
        with self._changed:
            self._messages.append(message)
            self._changed.notify()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._messages)
                messages, self._messages = self._messages, deque()
            try:
                for message in _together(messages):
                    self._channel.send(message)
            except OSError:  # the parent has ended
                os._exit(0)


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
