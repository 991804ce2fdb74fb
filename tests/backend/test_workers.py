"""Threads for calls: as many as calls, up to a limit, and each takes the next call."""

from __future__ import annotations

import socket
import threading

import msgspec
import pytest

from llamacli.backend.child.wire.codec import MAX_BYTES, encode
from llamacli.backend.child.wire.faults import exception_of
from llamacli.backend.child.wire.frames import Call, Channel, Failure, FromChild
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Connection
from llamacli.backend.child.work.task import Task
from llamacli.backend.child.work.workers import Workers

PATIENCE = 10


def test_calls_run_side_by_side_up_to_the_limit() -> None:
    workers, begun, go_on = Workers(2), threading.Semaphore(0), threading.Event()

    def work() -> None:
        begun.release()
        go_on.wait(PATIENCE)

    for _ in range(3):
        workers.submit(work)
    assert begun.acquire(timeout=PATIENCE)
    assert begun.acquire(timeout=PATIENCE)
    assert not begun.acquire(timeout=0.05)
    go_on.set()
    assert begun.acquire(timeout=PATIENCE)


def test_a_thread_works_on_one_call_after_the_other() -> None:
    workers, done = Workers(1), threading.Semaphore(0)
    threads: list[int] = []

    def work() -> None:
        threads.append(threading.get_ident())
        done.release()

    for _ in range(3):
        workers.submit(work)
        assert done.acquire(timeout=PATIENCE)
    assert len(threads) == 3
    assert len(set(threads)) == 1


@pytest.mark.parametrize("where", ["result", "item"])
def test_what_is_too_long_for_a_frame_is_an_error_of_its_call(where: str) -> None:
    """Nobody waits for it until the child is taken for hung."""
    method = Method("long", None, result=bytes, items=bytes)

    def handler(_: object, task: Task) -> bytes:
        long = bytes(MAX_BYTES)
        if where == "item":
            task.emit(long)
        return long

    ours, theirs = socket.socketpair()
    connection, caller = Connection(Channel(ours), {method: handler}, Workers(1), None), Channel(theirs)
    server = threading.Thread(target=connection.serve)
    server.start()
    try:
        caller.send(Call(1, method.name, msgspec.Raw(encode(None)), 0, 0))
        answer = caller.receive(FromChild)
        assert isinstance(answer, Failure)
        assert "longer than" in str(exception_of(answer.fault))
    finally:
        caller.close()
        server.join(PATIENCE)
        connection.close(PATIENCE)
