"""`AsyncLlama`: the same calls for asyncio. Evaluation runs on threads; cancelling a task stops the decode."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from llamacli.api.calls.answering import cancellable
from llamacli.api.llama import Llama
from llamacli.errors import ClosedError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from llamacli.api.arguments.inputs import PromptLike, TextLike
    from llamacli.api.arguments.options import ChatKeywords, CompletionKeywords
    from llamacli.api.state.saved import SavedState
    from llamacli.engine.runtime.canceller import Canceller
    from llamacli.openai.types import (
        CreateChatCompletionResponse,
        CreateChatCompletionStreamResponse,
        CreateCompletionResponse,
        CreateCompletionStreamResponse,
        CreateEmbeddingResponse,
    )

T = TypeVar("T")

STREAMS = 16
"""Threads for streams, beside those for parallel calls."""

_END = object()


class AsyncLlama:
    """A `Llama` whose calls are awaited. Accepts the arguments of `Llama`, or an existing `Llama` as `llama`.

    Concurrent calls run side by side, as those of several threads do. What takes no time is as in `Llama`: `tokenize`,
    `n_ctx`, `sample`, settings and attributes.
    """

    llama: Llama
    _pool: ThreadPoolExecutor

    logits_to_logprobs = staticmethod(Llama.logits_to_logprobs)
    longest_token_prefix = staticmethod(Llama.longest_token_prefix)

    def __init__(self, *args: Any, llama: Llama | None = None, **options: Any) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.llama = llama if llama is not None else Llama(*args, **options)
        # More calls would only wait in the engine; a stream takes a thread only while it waits for a chunk.
        self._pool = ThreadPoolExecutor(self.llama.n_parallel + STREAMS, thread_name_prefix="llamacli")

    @overload
    async def create_completion(
        self,
        prompt: PromptLike | Sequence[PromptLike],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        *,
        stream: Literal[False] = False,
        **more: Unpack[CompletionKeywords],
    ) -> CreateCompletionResponse: ...

    @overload
    async def create_completion(
        self,
        prompt: PromptLike | Sequence[PromptLike],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        *,
        stream: Literal[True],
        **more: Unpack[CompletionKeywords],
    ) -> AsyncIterator[CreateCompletionStreamResponse]: ...

    @overload
    async def create_completion(
        self,
        prompt: PromptLike | Sequence[PromptLike],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        *,
        stream: bool,
        **more: Unpack[CompletionKeywords],
    ) -> CreateCompletionResponse | AsyncIterator[CreateCompletionStreamResponse]: ...

    @functools.wraps(Llama.create_completion)
    async def create_completion(self, *args: Any, **options: Any) -> Any:
        """Return a completion as a document, or with `stream=True` an asynchronous iterator over its chunks."""
        return await self._call(self.llama.create_completion, args, options)

    __call__ = create_completion

    @overload
    async def create_chat_completion(
        self, messages: Sequence[Any], *, stream: Literal[False] = False, **more: Unpack[ChatKeywords]
    ) -> CreateChatCompletionResponse: ...

    @overload
    async def create_chat_completion(
        self, messages: Sequence[Any], *, stream: Literal[True], **more: Unpack[ChatKeywords]
    ) -> AsyncIterator[CreateChatCompletionStreamResponse]: ...

    @overload
    async def create_chat_completion(
        self, messages: Sequence[Any], *, stream: bool, **more: Unpack[ChatKeywords]
    ) -> CreateChatCompletionResponse | AsyncIterator[CreateChatCompletionStreamResponse]: ...

    @functools.wraps(Llama.create_chat_completion)
    async def create_chat_completion(self, *args: Any, **options: Any) -> Any:
        """Return a chat completion as a document, or with `stream=True` an asynchronous iterator over its chunks."""
        return await self._call(self.llama.create_chat_completion, args, options)

    @functools.wraps(Llama.create_chat_completion_openai_v1)
    async def create_chat_completion_openai_v1(self, *args: Any, **options: Any) -> Any:
        """Return `create_chat_completion` as objects of the `openai` package."""
        return await self._call(self.llama.create_chat_completion_openai_v1, args, options)

    @functools.wraps(Llama.chat_with)
    async def chat_with(self, *args: Any, **options: Any) -> Any:
        """Answer a conversation with another chat format or formatter."""
        return await self._call(self.llama.chat_with, args, options)

    async def create_embedding(
        self,
        input: TextLike | Sequence[TextLike],  # noqa: A002
        model: str | None = None,
    ) -> CreateEmbeddingResponse:
        """Return vectors in OpenAI's form (see `Llama.create_embedding`)."""
        return await self._in_thread(functools.partial(self.llama.create_embedding, input, model))

    async def embed(
        self,
        input: TextLike | Sequence[TextLike],  # noqa: A002
        normalize: bool = False,
        truncate: bool = True,
        return_count: bool = False,
    ) -> Any:
        """Return vectors (see `Llama.embed`)."""
        call = functools.partial(self.llama.embed, input, normalize, truncate)
        return await self._in_thread(functools.partial(call, return_count=return_count))

    async def eval(self, tokens: Sequence[int]) -> None:
        """Evaluate tokens after the current ones (see `Llama.eval`)."""
        await self._in_thread(functools.partial(self.llama.eval, tokens))

    @functools.wraps(Llama.generate)
    async def generate(self, *args: Any, **options: Any) -> AsyncIterator[int]:
        """Yield sampled tokens."""
        async for token in self._chunks(functools.partial(self.llama.generate, *args, **options)):
            yield token

    async def save_state(self) -> SavedState:
        """Return the evaluated tokens with their KV cache, and the seed."""
        return await self._in_thread(self.llama.save_state)

    async def load_state(self, state: SavedState) -> None:
        """Restore a saved state (see `Llama.load_state`)."""
        await self._in_thread(functools.partial(self.llama.load_state, state))

    @classmethod
    @functools.wraps(Llama.from_pretrained.__func__)  # type: ignore[attr-defined]
    def from_pretrained(cls, *args: Any, **options: Any) -> Self:
        """Load a model of the Hugging Face hub."""
        return cls(llama=Llama.from_pretrained(*args, **options))

    def __getattr__(self, name: str) -> Any:
        """Return the rest of `Llama` as it is: what takes no time."""
        if name.startswith("_") or name == "llama":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.llama, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a setting of the `Llama`, such as `chat_format` and `n_tokens`."""
        if name in AsyncLlama.__annotations__:
            super().__setattr__(name, value)
        else:
            setattr(self.llama, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in dir(self.llama) if not name.startswith("_"))})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as the arguments: the model is loaded again."""
        return _loaded_again, (type(self), self.llama)

    async def _call(self, method: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        call = functools.partial(method, *args, **options)
        if options.get("stream") or _has_stream(method.__name__, args):
            return self._chunks(call)
        return await self._in_thread(call)

    async def _chunks(self, call: Callable[..., Any]) -> AsyncIterator[Any]:
        from llamacli.engine.runtime.canceller import Canceller

        cancel = Canceller()
        try:
            iterator: Iterator[Any] = await self._in_thread(call, cancel)
            while (chunk := await self._in_thread(functools.partial(next, iterator, _END), cancel)) is not _END:
                yield chunk
        finally:
            cancel.set()

    async def _in_thread(self, call: Callable[..., T], cancel: Canceller | None = None) -> T:
        import asyncio

        from llamacli.engine.runtime.canceller import Canceller

        cancel = cancel or Canceller()
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
        import asyncio

        await asyncio.to_thread(self.close)


def _has_stream(name: str, args: tuple[Any, ...]) -> bool:
    """Return whether `stream` is among the arguments that are given by position."""
    import inspect

    return bool(inspect.signature(getattr(Llama, name)).bind_partial(None, *args).arguments.get("stream"))


def _loaded_again(kind: type[AsyncLlama], llama: Llama) -> AsyncLlama:
    return kind(llama=llama)
