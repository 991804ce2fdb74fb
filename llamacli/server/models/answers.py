"""Answers of a backend that computes on threads as batches of events in the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from llamacli.backend.protocol import Backend
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import AnswerEvent
from llamacli.engine.params import GenerationParams
from llamacli.engine.runtime.canceller import Canceller

T = TypeVar("T")


class LoopAnswers(Protocol):
    """Prompts and answers for an event loop: `LoopEngine`, or `ThreadedAnswers` for any other backend."""

    async def render(self, question: Question) -> Turn:
        """Return the turn of a question."""

    def answer(self, turn: Turn, params: GenerationParams, *, samples: int) -> AsyncGenerator[list[AnswerEvent], None]:
        """Yield the events of an answer in batches. Leaving the iterator ends it, and waits until it has ended."""


class ThreadedAnswers:
    """Prompts and answers of a backend on threads. `close()` waits for these."""

    def __init__(self, backend: Backend, places: int) -> None:
        self._backend = backend
        self._threads = ThreadPoolExecutor(places + 1, thread_name_prefix="answer")  # one for the prompts

    async def render(self, question: Question) -> Turn:
        """Return the turn of a question. Raises as `Backend.render`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._backend.render, question)

    async def answer(self, turn: Turn, params: GenerationParams, *, samples: int) -> AsyncGenerator[list[AnswerEvent], None]:
        """Yield the events of an answer in batches. Raises as `Backend.answer`."""
        canceller = Canceller()
        batches = batches_of(
            self._threads,
            lambda: self._backend.answer(turn, params, samples=samples, cancel=canceller),
            canceller.set,
        )
        async with aclosing(batches):
            async for batch in batches:
                yield batch

    def close(self) -> None:
        """Wait for the threads: the backend is closed."""
        self._threads.shutdown(wait=True, cancel_futures=True)


class EventBatches(Generic[T]):
    """The items of a blocking iterator, which runs on a thread, in batches: what has come since the last one.

    One wake-up of the loop carries all items that have come until it runs, so that a busy loop gets fewer of them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._items: list[T] = []
        self._woken = False
        self._ended = False
        self._error: BaseException | None = None
        self._ready = asyncio.Event()

    def run(self, items: Callable[[], Iterator[T]]) -> None:
        """Take all items. On the thread that computes."""
        error = None
        try:
            for item in items():
                self._post(item)
        except BaseException as raised:  # noqa: BLE001 - raised again in the event loop
            error = raised
        with self._lock:
            self._ended, self._error = True, error
        self._wake()

    def _post(self, item: T) -> None:
        with self._lock:
            self._items.append(item)
            woken, self._woken = self._woken, True
        if not woken:
            self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:  # the loop is closed: the process ends, and nobody waits
            return

    async def batches(self) -> AsyncGenerator[list[T], None]:
        """Yield what has come, as soon as something has. Raises what the iterator raised."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            with self._lock:
                items, self._items, self._woken = self._items, [], False
                ended, error = self._ended, self._error
            if items:
                yield items
            if ended:
                if error is not None:
                    raise error
                return


async def batches_of(
    executor: Executor, items: Callable[[], Iterator[T]], cancel: Callable[[], None]
) -> AsyncGenerator[list[T], None]:
    """Yield the items of a blocking iterator in batches. If the caller leaves, `cancel` is called, and the thread awaited.

    The thread is awaited so that its place is free only when its work has ended.
    """
    loop = asyncio.get_running_loop()
    events: EventBatches[T] = EventBatches(loop)
    work = loop.run_in_executor(executor, events.run, items)
    try:
        async for batch in events.batches():
            yield batch
    finally:
        cancel()
        await _settled(work)


async def _settled(work: asyncio.Future[None]) -> None:
    """Wait for work on a thread even if this task is cancelled meanwhile, which is then raised again."""
    cancelled = False
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
