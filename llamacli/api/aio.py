"""`AsyncLlama`: the same calls for asyncio. Evaluation runs on threads; cancelling a task stops the decode."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from llamacli.api.answers import cancellable
from llamacli.api.llama import Llama
from llamacli.api.state.saved import SavedState
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import ClosedError

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

    async def create_completion(self, prompt: Any, *args: Any, **options: Any) -> Any:
        """Return a completion as a document, or with `stream=True` an asynchronous iterator over its chunks."""
        return await self._call(functools.partial(self.llama.create_completion, prompt, *args, **options), options)

    __call__ = create_completion

    async def create_chat_completion(self, messages: Any, *args: Any, **options: Any) -> Any:
        """Return a chat completion as a document, or with `stream=True` an asynchronous iterator over its chunks."""
        return await self._call(functools.partial(self.llama.create_chat_completion, messages, *args, **options), options)

    async def create_chat_completion_openai_v1(self, messages: Any, *args: Any, **options: Any) -> Any:
        """Return `create_chat_completion` as objects of the `openai` package."""
        call = functools.partial(self.llama.create_chat_completion_openai_v1, messages, *args, **options)
        return await self._call(call, options)

    async def create_embedding(self, input: Any, model: str | None = None) -> Any:  # noqa: A002
        """Return vectors in OpenAI's form."""
        return await self._in_thread(Canceller(), functools.partial(self.llama.create_embedding, input, model))

    async def embed(self, input: Any, **options: Any) -> Any:  # noqa: A002
        """Return vectors."""
        return await self._in_thread(Canceller(), functools.partial(self.llama.embed, input, **options))

    async def eval(self, tokens: Sequence[int]) -> None:
        """Evaluate tokens after the current ones."""
        await self._in_thread(Canceller(), functools.partial(self.llama.eval, tokens))

    async def generate(self, tokens: Sequence[int], **options: Any) -> AsyncIterator[int]:
        """Yield sampled tokens after `tokens`."""
        call = functools.partial(self.llama.generate, tokens, **options)
        async for token in self._chunks(call):
            yield token

    async def save_state(self) -> SavedState:
        """Return the evaluated tokens with their KV cache."""
        saved: SavedState = await self._in_thread(Canceller(), self.llama.save_state)
        return saved

    async def load_state(self, state: SavedState) -> None:
        """Restore a saved state."""
        await self._in_thread(Canceller(), functools.partial(self.llama.load_state, state))

    @classmethod
    def from_pretrained(cls, *args: Any, **options: Any) -> Self:
        """Load a model of the Hugging Face hub (see `Llama.from_pretrained`)."""
        return cls(llama=Llama.from_pretrained(*args, **options))

    def __getattr__(self, name: str) -> Any:
        """Return the rest of `Llama` as it is: what takes no time."""
        if name.startswith("_") or name == "llama":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.llama, name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as the arguments: the model is loaded again."""
        return _loaded_again, (type(self), self.llama)

    async def _call(self, call: Callable[..., Any], options: dict[str, Any]) -> Any:
        return self._chunks(call) if options.get("stream") else await self._in_thread(Canceller(), call)

    async def _chunks(self, call: Callable[..., Any]) -> AsyncIterator[Any]:
        cancel = Canceller()
        try:
            iterator: Iterator[Any] = await self._in_thread(cancel, call)
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


def _loaded_again(kind: type[AsyncLlama], llama: Llama) -> AsyncLlama:
    return kind(llama=llama)
