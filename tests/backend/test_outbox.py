"""What a child sends: by the thread that works, or by that of the outbox if the reader is slow."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from llamacli.backend.child.wire.codec import MAX_BYTES, encode
from llamacli.backend.child.wire.frames import Channel, FromChild, Items, Result
from llamacli.backend.child.work.outbox import Outbox

NOTHING = msgspec.Raw(encode(None))


@contextmanager
def outbox_and_reader() -> Iterator[tuple[Outbox, Channel, socket.socket]]:
    """An outbox, the other end of its channel, and the socket of that end."""
    here, there = socket.socketpair()
    outbox, reader = Outbox(Channel(here)), Channel(there)
    try:
        yield outbox, reader, there
    finally:
        outbox.stop()
        here.close()
        reader.close()


def is_empty(connection: socket.socket) -> bool:
    """Whether nothing has been sent."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        connection.setblocking(True)


def test_what_is_added_is_sent_in_one_frame_when_it_is_flushed() -> None:
    with outbox_and_reader() as (outbox, reader, connection):
        outbox.start(ends_process=False)
        for _ in range(3):
            outbox.add(Items(1, [NOTHING]))
        assert is_empty(connection)
        outbox.flush()
        assert reader.receive(FromChild) == Items(1, [NOTHING] * 3)
        outbox.flush()
        assert is_empty(connection)


def test_items_together_are_no_longer_than_a_frame() -> None:
    big = msgspec.Raw(encode(bytes(MAX_BYTES - 100)))
    with outbox_and_reader() as (outbox, reader, _):
        outbox.start(ends_process=False)
        outbox.put(Items(1, [big]))
        outbox.add(Items(1, [big]))
        outbox.put(Items(1, [NOTHING]))
        received = [reader.receive(FromChild) for _ in range(2)]
        assert received[0] == Items(1, [big])
        assert received[1] in (Items(1, [big]), Items(1, [big, NOTHING]))


def test_the_end_of_a_call_is_sent_with_what_was_added() -> None:
    with outbox_and_reader() as (outbox, reader, _):
        outbox.add(Items(1, [NOTHING]))
        outbox.put_last(Result(1, NOTHING))  # no thread is needed for it
        assert reader.receive(FromChild) == Items(1, [NOTHING])
        assert reader.receive(FromChild) == Result(1, NOTHING)


def test_a_slow_reader_does_not_stop_who_flushes() -> None:
    big = msgspec.Raw(encode(b"x" * (1 << 22)))
    with outbox_and_reader() as (outbox, reader, _):
        outbox.start(ends_process=False)
        outbox.put(Items(1, [big]))  # the thread of the outbox waits for the reader
        for number in range(100):
            outbox.add(Items(2, [msgspec.Raw(encode(number))]))
            outbox.flush()
        received: list[object] = []
        while len(received) < 101:
            message = reader.receive(FromChild)
            assert isinstance(message, Items)
            received += message.items
        assert received == [big, *(msgspec.Raw(encode(number)) for number in range(100))]
