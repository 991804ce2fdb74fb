"""Threads for calls: as many as calls, up to a limit, and each takes the next call."""

from __future__ import annotations

import threading

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
