"""`AsyncLlama`: the same calls for asyncio. Evaluation runs on threads; cancelling a task stops the decode."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from llamacli.api.completion import cancellable
from llamacli.api.llama import Llama
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import ClosedError
from llamacli.openai.response import Document

STREAMS = 16
"""Threads for streams, beside those for parallel calls."""

_END = object()


class AsyncLlama:
    """A `Llama` whose calls are awaited. Accepts the arguments of `Llama`, or an existing `Llama` as `llama`.

    Concurrent calls run side by side, as those of several threads do.
    """

    def __init__(self, *args: Any, llama: Llama | None = None, **options: Any) -> None:
        self.llama = llama if llama is not None else Llama(*args, **options)
        # More calls would only wait in the engine; a stream takes a thread only while it waits for a chunk.
        self._pool = ThreadPoolExecutor(self.llama.engine.n_parallel + STREAMS, thread_name_prefix="llamacli")

    async def create_completion(self, prompt: Any, **options: Any) -> Any:
        """Return a completion as a document, or with `stream=True` an asynchronous iterator over its chunks."""
        return await self._call(functools.partial(self.llama.create_completion, prompt, **options), options)

    async def create_chat_completion(self, messages: Any, **options: Any) -> Any:
        """Return a chat completion as a document, or with `stream=True` an asynchronous iterator over its chunks."""
        return await self._call(functools.partial(self.llama.create_chat_completion, messages, **options), options)

    async def _call(self, call: Callable[..., Any], options: dict[str, Any]) -> Any:
        return self._chunks(call) if options.get("stream") else await self._in_thread(Canceller(), call)

    async def _chunks(self, call: Callable[..., Any]) -> AsyncIterator[Document]:
        cancel = Canceller()
        try:
            iterator: Iterator[Document] = await self._in_thread(cancel, call)
            while (chunk := await self._in_thread(cancel, functools.partial(next, iterator, _END))) is not _END:
                yield chunk
        finally:
            cancel.set()

    async def _in_thread(self, cancel: Canceller, call: Callable[..., Any]) -> Any:
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pool, cancellable, cancel, call)
        except RuntimeError as error:  # the pool was shut down
            raise ClosedError("this AsyncLlama is closed") from error
        try:
            return await running
        except asyncio.CancelledError:
            cancel.set()
            raise

    def close(self) -> None:
        """Close the model; running calls raise ClosedError."""
        self.llama.close()
        self._pool.shutdown(wait=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)
