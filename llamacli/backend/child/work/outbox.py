"""What a child sends: messages from any thread, several items of a call in one frame.

A thread that works on a call sends what it has queued itself, before it waits or computes: to wake another one takes longer
than to send, and takes a processor from those that compute. The outbox has a thread for the rest, and for a slow reader.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from llamacli.backend.child.wire.codec import MAX_BYTES
from llamacli.backend.child.wire.frames import Channel, FromChild, Items

_SHORT_BYTES: Final = 1 << 15
"""Bytes of items that a connection takes without a wait, if it is writable."""


class Outbox:
    """Queue of messages to the other end. When that has gone, the process ends, or what is still queued is dropped."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
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
        with self._lock:
            self._is_over = True
            self._changed.notify()

    def put(self, message: FromChild) -> None:
        """Queue a message, and wake the thread that sends."""
        with self._lock:
            self._messages.append(message)
            self._changed.notify()

    def add(self, message: FromChild) -> None:
        """Queue a message. It is sent by `flush`, or with a later message."""
        with self._lock:
            self._messages.append(message)

    def flush(self) -> None:
        """Send what is queued. Leave it to the other thread if that is sending, or if the reader is slow."""
        with self._lock:
            if not self._messages or self._is_sending or self._is_over:
                return
            if _size(self._messages) > _SHORT_BYTES or not self._channel.is_writable:
                self._changed.notify()
                return
            messages = self._take()
        self._send(messages)

    def put_last(self, message: FromChild) -> None:
        """Queue the end of a call. This thread has nothing else to do, so it sends what is queued, unless another does."""
        with self._lock:
            self._messages.append(message)
            if self._is_sending or self._is_over:
                return  # who sends looks again
            messages = self._take()
        self._send(messages)

    def _send_all(self) -> None:
        while True:
            with self._lock:
                self._changed.wait_for(lambda: self._is_over or (self._messages and not self._is_sending))
                if self._is_over:
                    return
                messages = self._take()
            self._send(messages)

    def _take(self) -> deque[FromChild]:
        """Take what is queued, as the one thread that may send. With the lock."""
        self._is_sending = True
        messages, self._messages = self._messages, deque()
        return messages

    def _send(self, messages: deque[FromChild]) -> None:
        """Send messages; then let the next thread."""
        try:
            self._channel.send(*_together(messages))
        except OSError:  # the other end has gone
            if self._ends_process:
                os._exit(0)
            self.stop()
        finally:
            with self._lock:
                self._is_sending = False
                if self._messages or self._is_over:
                    self._changed.notify()


def _size(messages: Iterable[FromChild]) -> int:
    """The bytes of the items among messages."""
    return sum(len(item) for message in messages if isinstance(message, Items) for item in message.items)


def _together(messages: deque[FromChild]) -> list[FromChild]:
    """Return the messages with adjacent items of one call in one message, as many as a frame takes."""
    joined: list[FromChild] = []
    size = 0
    for message in messages:
        last, added = joined[-1] if joined else None, _size([message])
        size += added
        if isinstance(message, Items) and isinstance(last, Items) and last.id == message.id and size <= MAX_BYTES:
            last.items.extend(message.items)
        else:
            joined.append(message)
            size = added
    return joined
