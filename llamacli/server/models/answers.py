"""Answers of a backend that computes on threads as batches of events in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar

from llamacli.backend.mailbox import Mailbox, settled
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


@dataclass(frozen=True, slots=True)
class _End:
    """The end of an iterator, and what it raised."""

    error: BaseException | None


async def batches_of(
    executor: Executor, items: Callable[[], Iterator[T]], cancel: Callable[[], None]
) -> AsyncGenerator[list[T], None]:
    """Yield the items of a blocking iterator in batches: what has come since the last one. Raises what the iterator raises.

    If the caller leaves, `cancel` is called, and the thread awaited, so that its place is free only when its work has ended.
    """
    mailbox: Mailbox[T | _End] = Mailbox()

    def run() -> None:
        error = None
        try:
            for item in items():
                mailbox.put(item)
        except BaseException as raised:  # noqa: BLE001 - raised again in the event loop
            error = raised
        mailbox.put(_End(error))

    work = asyncio.get_running_loop().run_in_executor(executor, run)
    try:
        end = None
        while end is None:
            batch: list[T] = []
            for message in await mailbox.take():
                if isinstance(message, _End):
                    end = message
                else:
                    batch.append(message)
            if batch:
                yield batch
        if end.error is not None:
            raise end.error
    finally:
        cancel()
        await settled(work)
