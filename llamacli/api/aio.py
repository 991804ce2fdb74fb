"""`AsyncLlama`: the same calls for asyncio. Evaluation runs on threads; cancelling a task stops the decode."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from llamacli.api.completion import stoppable
from llamacli.api.llama import Llama
from llamacli.engine.documents import Document

_END = object()


class AsyncLlama:
    """A `Llama` whose calls are awaited. Takes what `Llama` takes, or a `Llama` that is there already as `llama`.

    Calls that are awaited at once run side by side, as those of threads do.
    """

    def __init__(self, *args: Any, llama: Llama | None = None, **options: Any) -> None:
        self.llama = llama if llama is not None else Llama(*args, **options)
        self._pool = ThreadPoolExecutor(thread_name_prefix="llamacli")

    async def create_completion(self, prompt: Any, **options: Any) -> Any:
        """A completion as a document; with `stream=True` an asynchronous iterator of its chunks."""
        return await self._call(functools.partial(self.llama.create_completion, prompt, **options), options)

    async def create_chat_completion(self, messages: Any, **options: Any) -> Any:
        """A chat completion as a document; with `stream=True` an asynchronous iterator of its chunks."""
        return await self._call(functools.partial(self.llama.create_chat_completion, messages, **options), options)

    async def _call(self, call: Callable[..., Any], options: dict[str, Any]) -> Any:
        chunks = self._chunks(functools.partial(call, stream=True) if not options.get("stream") else call)
        if options.get("stream"):
            return chunks
        return await self._in_thread(call)

    async def _chunks(self, call: Callable[..., Any]) -> AsyncIterator[Document]:
        iterator: Generator[Document, None, None] = await self._in_thread(call)
        turn = threading.Lock()  # a cancelled task goes on while its thread is still inside the iterator

        def take() -> Any:
            with turn:
                return next(iterator, _END)

        def close() -> None:
            with turn:
                iterator.close()

        try:
            while (chunk := await self._in_thread(take)) is not _END:
                yield chunk
        finally:
            try:
                self._pool.submit(close)
            except RuntimeError:  # closed, and nothing runs there any more
                close()

    async def _in_thread(self, call: Callable[..., Any]) -> Any:
        stop = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, stoppable, stop, call)
        except asyncio.CancelledError:
            stop.set()
            raise

    def close(self) -> None:
        """Closes the model; what still runs raises ClosedError."""
        self.llama.close()
        self._pool.shutdown(wait=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)
