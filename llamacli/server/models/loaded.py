"""A loaded model: its backend, the threads that compute for it, and the line of those who wait."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from llamacli.backend.child.event_loop import LoopEngine
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import ClosedError, ContextFullError
from llamacli.gguf.check.loadable import check_loadable
from llamacli.server.models.admission import Admission
from llamacli.server.models.spec import ModelSpec

if TYPE_CHECKING:
    from llamacli.backend.child.engine import ChildEngine
    from llamacli.engine.embedding.outcome import Outcome
    from llamacli.engine.embedding.params import EmbeddingParams
    from llamacli.engine.embedding.window import Text

T = TypeVar("T")

AHEAD = 2
"""Answers that wait in the engine itself, so that a place that comes free is taken in the same step."""

_VECTORS_AT_ONCE = 2
"""Requests of vectors that are evaluated at once: the second one fills the cores while the first one ends."""


class LoadedModel:
    """A loaded model. `users` are the requests that use it now; `used` is when the last one ended (`time.monotonic`)."""

    def __init__(self, spec: ModelSpec, backend: ChildEngine, *, queue: int) -> None:
        self.spec = spec
        self.backend = backend
        self.description = backend.describe()
        self.sampling = spec.sampling(backend.sampling_defaults(SamplingParams()))
        """The defaults of sampling: what the server's options say, else what the model recommends, else ours."""
        self.admission = Admission(self.description.n_parallel + AHEAD, queue)
        self.users = 0
        self.used = time.monotonic()
        self.loaded_at = time.time()
        self._is_closed = False
        self._answers = LoopEngine(backend)
        self._rendering = asyncio.Lock()  # one at a time: the others wait here, not on threads of the child
        self._prompts = ThreadPoolExecutor(1, thread_name_prefix="prompt")
        self._media = ThreadPoolExecutor(1, thread_name_prefix="media")
        self._vectors = ThreadPoolExecutor(_VECTORS_AT_ONCE, thread_name_prefix="vectors")

    @property
    def name(self) -> str:
        """The name by which the model is served."""
        return self.spec.name

    async def prompt_work(self, work: Callable[[], T], *, decodes: bool = False) -> T:
        """Return what short work on prompts returns, which runs on a thread: reading of requests, tokenization.

        `decodes`: pictures or sounds are decoded, which may take seconds. Texts do not wait for that.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._media if decodes else self._prompts, work)
        except RuntimeError as error:
            if not self._is_closed:
                raise
            raise ClosedError(f"{self.name} was freed meanwhile", hint="try again") from error

    def special_tokens(self) -> dict[str, str | None]:
        """Return the texts of the tokens that begin and end a text, None for those that the model does not have.

        Raises:
            ModelFileError, ModelUnsupportedError: if the file's header cannot be read any more.
        """
        header = check_loadable(self.spec.find())
        ids = {name: header.integer(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
        return {
            f"{name}_token": self.backend.pieces([number])[0].decode("utf-8", "replace") if number is not None else None
            for name, number in ids.items()
        }

    def receive_here(self) -> None:
        """Receive what the engine sends in the running loop."""
        self._answers.receive_here()

    async def render(self, question: Question) -> Turn:
        """Return the turn of a question.

        Raises:
            ContextFullError: if the prompt is too long.
            LlamacliError: as `LoopEngine.render` raises it.
        """
        async with self._rendering:
            turn = await self._answers.render(self._templated(question))
        self._check_size(turn, question)
        return turn

    def _templated(self, question: Question) -> Question:
        if self.spec.template is None or question.is_text:
            return question
        return dataclasses.replace(question, template=self.spec.template)

    def _check_size(self, turn: Turn, question: Question) -> None:
        needed, size = len(turn.prompt.tokens), self.description.n_ctx
        if needed >= size:
            raise ContextFullError(
                f"the prompt has {needed} tokens, and the context of this model holds {size}",
                needed=needed + 1,
                available=size,
                hint="shorten it, or start the server with a larger context",
                parameter="prompt" if question.is_text else "messages",
            )

    async def answer(
        self,
        asked: Turn | Question,
        params: GenerationParams,
        *,
        samples: int = 1,
        on_start: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[list[AnswerEvent], None]:
        """Yield the events of an answer in batches, after a wait in line; `on_start` is called when that is over.

        A question that need not wait is rendered and answered in one call. Leaving the iterator (`aclosing`) ends the answer,
        and waits until its place is free. Raises as `render` and `LoopEngine.answer`, and QueueFullError.
        """
        async with self._placed(asked) as placed:
            on_start()
            if isinstance(placed, Turn):
                answered = self._answers.answer(placed, params, samples=samples)
            else:
                check, most = partial(self._check_size, question=placed), self.description.n_ctx - 1
                answered = self._answers.ask(placed, params, samples=samples, check=check, most=most)
            async with aclosing(answered) as batches:
                async for batch in batches:
                    yield batch

    async def answer_whole(
        self,
        asked: Turn | Question,
        params: GenerationParams,
        *,
        samples: int = 1,
        on_start: Callable[[], None] = lambda: None,
    ) -> tuple[Answer, ...]:
        """Return the answers when all have ended, see `answer`. Raises as `answer`."""
        async with self._placed(asked) as placed:
            on_start()
            if isinstance(placed, Turn):
                return await self._answers.answer_whole(placed, params, samples=samples)
            check, most = partial(self._check_size, question=placed), self.description.n_ctx - 1
            return await self._answers.ask_whole(placed, params, samples=samples, check=check, most=most)

    @asynccontextmanager
    async def _placed(self, asked: Turn | Question) -> AsyncIterator[Turn | Question]:
        """Hold a place for the block. Who has to wait for it, waits with a turn: what cannot be answered is refused at once."""
        turn = await self.render(asked) if isinstance(asked, Question) and not self.admission.is_free else asked
        async with self.admission.place():
            yield turn if isinstance(turn, Turn) else self._templated(turn)

    async def embed(self, texts: Sequence[Text], params: EmbeddingParams) -> list[Outcome]:
        """Return the vectors of texts. Raises as `Backend.embed`."""
        return await self._vector_work(lambda: self.backend.embed(texts, params))

    async def rerank(self, query: str, texts: Sequence[Text], params: EmbeddingParams) -> list[Outcome]:
        """Return the scores of texts. Raises as `Backend.rerank`."""
        return await self._vector_work(lambda: self.backend.rerank(query, texts, params))

    async def _vector_work(self, work: Callable[[], Iterable[Outcome]]) -> list[Outcome]:
        gone = False

        def run() -> list[Outcome]:
            found: list[Outcome] = []
            for outcome in work() if not gone else ():
                if gone:
                    break
                found.append(outcome)
            return found

        async with self.admission.place():
            try:
                return await asyncio.get_running_loop().run_in_executor(self._vectors, run)
            finally:
                gone = True

    def refuse(self, error: Exception) -> None:
        """Answer nobody any more who is not answered already."""
        self.admission.close(error)

    def close(self) -> None:
        """Free the model: what still runs ends with ClosedError. Waits for the threads."""
        self._is_closed = True
        self.backend.close()
        for threads in (self._prompts, self._media, self._vectors):
            threads.shutdown(wait=True, cancel_futures=True)
