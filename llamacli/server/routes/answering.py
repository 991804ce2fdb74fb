"""From a request to the events of its answers: what chat, texts, Responses and Messages share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent, Failed, Piece
from llamacli.engine.params import GenerationParams
from llamacli.errors import CancelledError
from llamacli.openai.sampling import Generation
from llamacli.server.http.exchange import LARGE_BYTES, Exchange
from llamacli.server.models.loaded import LoadedModel
from llamacli.server.state import ServerState

T = TypeVar("T")

Batches = AsyncGenerator[list[AnswerEvent], None]

_QUICK_BYTES = 4096
_COMPILED = frozenset(
    {"functions", "grammar", "json_schema", "output_config", "output_format", "response_format", "text", "tools"}
)
"""Fields whose values become grammars and templates of tools: that can take a while."""
_MEDIA = (b'"image', b'"input_image', b'"input_audio', rb"\u004", rb"\u005", rb"\u006", rb"\u007")
"""What the body of a request with pictures or sounds contains, also if it hides these words as escaped letters."""


class Answering:
    """The answers of one model to one exchange, measured for the log and the metrics."""

    def __init__(self, state: ServerState, exchange: Exchange, model: LoadedModel) -> None:
        self._state = state
        self._record = exchange.record
        self._model = model
        self._record.model = model.name

    async def note(self, asked: Turn | Question) -> Turn | Question:
        """Keep a prompt for the log, if the log shows prompts. Return its turn then, else what was given."""
        if not self._state.keeps_prompts:
            return asked
        turn = await self._model.render(asked) if isinstance(asked, Question) else asked
        self._record.prompts.append(turn.prompt.text)
        return turn

    async def events(self, asked: Turn | Question, params: GenerationParams, *, samples: int = 1) -> Batches:
        """Yield the events of `samples` answers in batches, the last of each its `Answer`.

        Raises:
            CancelledError: if the server ends before the answer does.
            LlamacliError: as `LoadedModel.answer` raises it.
        """
        record, last = self._record, 0.0
        first_prompt = True
        async with aclosing(self._model.answer(asked, params, samples=samples, on_start=self._start)) as batches:
            async for batch in batches:
                now, tokens = record.elapsed, 0
                for event in batch:
                    if isinstance(event, Piece):
                        tokens += event.token is not None
                    elif isinstance(event, Failed):
                        raise event.error
                    elif isinstance(event, Answer):
                        self._count(event, with_prompt=first_prompt)
                        first_prompt = False
                if tokens and record.first_token is None:
                    record.first_token = now
                elif tokens and last:
                    self._state.metrics.observe_tokens(record.model, tokens, now - last)
                last = now if tokens else last
                yield batch

    async def answers(self, asked: Turn | Question, params: GenerationParams, *, samples: int = 1) -> list[Answer]:
        """Return whole answers, in the order of their numbers. Raises as `events`.

        The engine sends nothing before an answer has ended, so the times of its tokens are those that it has measured.
        """
        answers = await self._model.answer_whole(asked, params, samples=samples, on_start=self._start)
        for number, answer in enumerate(answers):
            self._time(answer)
            self._count(answer, with_prompt=number == 0)
        return sorted(answers, key=lambda answer: answer.index)

    def _start(self) -> None:
        self._record.queued = max(self._record.queued or 0.0, self._record.elapsed)

    def _time(self, answer: Answer) -> None:
        """Record the times of the tokens of an answer that has just ended."""
        record, tokens, seconds = self._record, answer.usage.completion_tokens, answer.timings.predicted_ms / 1e3
        if tokens and record.first_token is None:
            record.first_token = record.elapsed - seconds
        if tokens > 1:
            self._state.metrics.observe_tokens(record.model, tokens - 1, seconds)

    def _count(self, answer: Answer, *, with_prompt: bool) -> None:
        if answer.finish_reason == "cancelled":
            raise CancelledError("the server ended the answer, because it shuts down")
        record = self._record
        record.completion_tokens += answer.usage.completion_tokens
        record.drafted_tokens += answer.timings.draft_n
        record.accepted_tokens += answer.timings.draft_n_accepted
        if with_prompt:
            record.prompt_tokens += answer.usage.prompt_tokens
            record.cached_tokens += answer.usage.cached_tokens
            record.restored_tokens += answer.usage.restored_tokens
        if self._state.keeps_prompts:
            record.answers.append(answer.content)


async def read_request(exchange: Exchange, model: LoadedModel, document: Any, read: Callable[[], T]) -> T:
    """Return a request that `read` reads: here if that is quick, else on a thread.

    Meanwhile schemas become grammars, and pictures are decoded.
    """
    if len(exchange.body) > LARGE_BYTES or any(mark in exchange.body for mark in _MEDIA):
        return await model.prompt_work(read, decodes=True)
    is_quick = len(exchange.body) <= _QUICK_BYTES and isinstance(document, dict) and _COMPILED.isdisjoint(document)
    return read() if is_quick else await model.prompt_work(read)


async def resolved(model: LoadedModel, generation: Generation) -> GenerationParams:
    """Return parameters with biases by token id. Raises UsageError for an unknown token."""
    if not generation.biases:
        return generation.params
    return await model.prompt_work(lambda: generation.resolved(model.backend.resolve_biases))


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of coroutines that run side by side. The first error ends the others, and is raised."""
    works = list(works)
    if len(works) == 1:
        return [await works[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def model_of(document: Any) -> Any:
    """Return the model that a request names, None if it names none."""
    return document.get("model") if isinstance(document, dict) else None
