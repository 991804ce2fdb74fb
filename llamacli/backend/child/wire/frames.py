"""Frames between the two processes: a length of four bytes, then one message; descriptors travel beside the bytes.

A call has a number, which all of its messages carry. Either side refuses what is longer than `codec.MAX_FRAME_BYTES`, of an
unknown kind or of the wrong type.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec

from llamacli.backend.child.wire.codec import MAX_FRAME_BYTES, ProtocolError, decode, encode
from llamacli.backend.child.wire.faults import Fault

_LENGTH = 4
_CHUNK = 1 << 16
_MOST_DESCRIPTORS = 8

Network = Literal["none", "connect", "listen"]
"""What a child may do over TCP."""


class Start(msgspec.Struct, array_like=True, frozen=True, tag="start"):
    """The first message to a child. `reads` are the files and folders that its model needs, `writes` files that it may write.

    `sandbox` is "auto", "require" or "off". `log_level` is the level of Python's logging from which lines are sent. With
    `keep_alive` the child stays so many seconds after its last connection; the listening socket comes with the first message.
    `network` is what it may do beside that: "none", "connect" over TCP, or "listen". `folder` is where it may make files.
    """

    reads: tuple[str, ...]
    sandbox: str
    log_level: int
    keep_alive: float | None = None
    writes: tuple[str, ...] = ()
    network: Network = "none"
    folder: str | None = None


class Call(msgspec.Struct, array_like=True, frozen=True, tag="call"):
    """A call of a method, with the number of descriptors that come with it. `credit` items may be sent before a `Grant`."""

    id: int
    method: str
    arguments: msgspec.Raw
    credit: int
    descriptors: int


class Feed(msgspec.Struct, array_like=True, frozen=True, tag="feed"):
    """Items for a running call; `is_last`: there are no more."""

    id: int
    items: list[msgspec.Raw]
    is_last: bool = False


class Grant(msgspec.Struct, array_like=True, frozen=True, tag="grant"):
    """Permission to send more items."""

    id: int
    credit: int


class Cancel(msgspec.Struct, array_like=True, frozen=True, tag="cancel"):
    """End of a call whose caller left."""

    id: int


class Ready(msgspec.Struct, array_like=True, frozen=True, tag="ready"):
    """The child has started; `missing` are the parts of the sandbox that this system does not have."""

    missing: tuple[str, ...] = ()


class Items(msgspec.Struct, array_like=True, frozen=True, tag="items"):
    """Items of a call that streams."""

    id: int
    items: list[msgspec.Raw]


class Want(msgspec.Struct, array_like=True, frozen=True, tag="want"):
    """Wish for up to `count` items to feed."""

    id: int
    count: int


class Result(msgspec.Struct, array_like=True, frozen=True, tag="result"):
    """The end of a call."""

    id: int
    value: msgspec.Raw


class Failure(msgspec.Struct, array_like=True, frozen=True, tag="failure"):
    """The end of a call by an exception."""

    id: int
    fault: Fault


class LogLine(msgspec.Struct, array_like=True, frozen=True, tag="log"):
    """A line of the log."""

    logger: str
    level: int
    text: str


class Alive(msgspec.Struct, array_like=True, frozen=True, tag="alive"):
    """A sign of life while calls run: seconds of processor time used so far, and bytes of memory in use.

    `is_working` is False if all calls wait for the parent.
    """

    cpu_seconds: float
    memory: int
    is_working: bool


ToChild = Start | Call | Feed | Grant | Cancel
FromChild = Ready | Items | Want | Result | Failure | LogLine | Alive


class Channel:
    """One end of the socket pair. Any thread may send; one thread receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self._received = bytearray()
        self._chunk = memoryview(bytearray(_CHUNK))
        self._descriptors: deque[int] = deque()
        self._writable = select.poll()
        self._writable.register(connection, select.POLLOUT)

    @property
    def is_writable(self) -> bool:
        """True if short messages can be sent without a wait for the other side."""
        return bool(self._writable.poll(0))

    def send(self, *messages: ToChild | FromChild, descriptors: Sequence[int] = ()) -> None:
        """Send messages in one call of the system. Raises OSError if the other side has ended, CapacityError for a long one."""
        parts = [part for message in messages for part in _frame(message)]
        if len(parts) > 2:
            parts = [b"".join(parts)]
        with self._sending:
            sent = socket.send_fds(self._socket, parts, list(descriptors)) if descriptors else self._socket.sendmsg(parts)
            for part in parts:
                if sent < len(part):
                    self._socket.sendall(memoryview(part)[sent:])
                sent = max(0, sent - len(part))

    def receive(self, kind: object) -> ToChild | FromChild | None:
        """Return the next message of a kind (`ToChild` or `FromChild`), None if the other side has ended.

        Raises:
            ProtocolError: if the other side sends anything else.
        """
        header = self._take(_LENGTH)
        if header is None:
            return None
        body = self._take(_checked_length(header))
        message: ToChild | FromChild | None = None if body is None else decode(body, kind)
        return message

    def receive_ready(self, kind: object) -> list[ToChild | FromChild] | None:
        """Return the messages that came with the next bytes, which wait already; None if the other side has ended.

        Raises:
            ProtocolError: as `receive`.
        """
        size = self._receive_into(self._chunk)
        if not size:
            return None
        self._received += self._chunk[:size]
        return self.received(kind)

    def received(self, kind: object) -> list[ToChild | FromChild]:
        """Return the messages that came with those before. Raises as `receive`."""
        messages: list[ToChild | FromChild] = []
        while (length := self._length_received()) is not None and len(self._received) >= _LENGTH + length:
            messages.append(decode(self._received[_LENGTH : _LENGTH + length], kind))
            del self._received[: _LENGTH + length]
        return messages

    def _length_received(self) -> int | None:
        """The length of the next message, None if it has not come."""
        return None if len(self._received) < _LENGTH else _checked_length(self._received[:_LENGTH])

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._socket.fileno()

    def take_descriptors(self, count: int) -> list[int]:
        """Return the next descriptors that arrived. Raises ProtocolError if there are fewer."""
        if len(self._descriptors) < count:
            raise ProtocolError(f"{count} descriptors were announced, {len(self._descriptors)} arrived")
        return [self._descriptors.popleft() for _ in range(count)]

    def shut_down(self) -> None:
        """End the connection: whoever receives is at the end."""
        with contextlib.suppress(OSError):  # the other side was faster
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection and the descriptors that nobody took. Wakes a thread that receives."""
        self.shut_down()
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _take(self, count: int) -> bytes | bytearray | None:
        """Return the next bytes, None if the stream ended before."""
        if count > _CHUNK:
            return self._take_large(count)
        while len(self._received) < count:
            size = self._receive_into(self._chunk)
            if not size:
                return None
            self._received += self._chunk[:size]
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _take_large(self, count: int) -> bytearray | None:
        """Return the next bytes, received where they stay."""
        taken = bytearray(count)
        filled = min(len(self._received), count)
        taken[:filled] = self._received[:filled]
        del self._received[:filled]
        rest = memoryview(taken)[filled:]
        while len(rest):
            size = self._receive_into(rest)
            if not size:
                return None
            rest = rest[size:]
        return taken

    def _receive_into(self, space: memoryview) -> int:
        """Receive bytes, keep the descriptors that come with them, and return the number of bytes; 0 at the end."""
        try:
            size, ancillary, _flags, _address = self._socket.recvmsg_into([space], socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS))
        except OSError:
            return 0
        for level, kind, packed in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors.extend(array.array("i", packed[: len(packed) - len(packed) % 4]))
        return size


def _frame(message: ToChild | FromChild) -> tuple[bytes, bytes]:
    """The length of a message and the message. Raises CapacityError if it is too long."""
    body = encode(message, most=MAX_FRAME_BYTES)
    return len(body).to_bytes(_LENGTH, "little"), body


def _checked_length(header: bytes | bytearray) -> int:
    """The length that a frame begins with. Raises ProtocolError if it is too long."""
    length = int.from_bytes(header, "little")
    if length > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {length} bytes is too long")
    return length
