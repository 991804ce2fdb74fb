"""`/v1/chat/completions`, `/v1/completions`, `/completion` and `/infill`: answers as one document or as a stream of chunks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, Piece, Prefill
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.openai.chat_request import CompletionRequest, Stream, read_chat
from llamacli.openai.documents import Documents, totals
from llamacli.openai.native import native_chunk, native_document
from llamacli.openai.response import Document, Heading
from llamacli.openai.text_request import read_completion, read_infill, read_native
from llamacli.server.http.event_stream import EventStream, event, event_stream
from llamacli.server.http.exchange import Exchange
from llamacli.server.models.loaded import LoadedModel
from llamacli.server.routes.answering import Answering, model_of, read_request, resolved, together
from llamacli.server.state import ServerState

Read = Callable[[Any, SamplingParams], CompletionRequest]

Numbered = TypeVar("Numbered", Piece, Answer)

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One prompt of a request and the parameters of its answers, the first of which is choice number `first`.

    `echoed` is the text that is returned before each answer.
    """

    asked: Turn | Question
    params: GenerationParams
    samples: int
    first: int
    echoed: str | None = None


class Completions:
    """The endpoints of completions."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def chat(self, exchange: Exchange) -> None:
        """Answer a conversation."""
        await self._complete(exchange, read_chat)

    async def text(self, exchange: Exchange) -> None:
        """Continue texts."""
        await self._complete(exchange, read_completion)

    async def infill(self, exchange: Exchange) -> None:
        """Fill the gap between two texts, in llama-server's format."""
        await self._complete_natively(exchange, read_infill)

    async def native(self, exchange: Exchange) -> None:
        """Continue a text, in llama-server's format."""
        await self._complete_natively(exchange, read_native)

    async def _complete_natively(self, exchange: Exchange, read: Read) -> None:
        document = await exchange.json()
        async with self._state.pool.use(model_of(document)) as model:
            answering = Answering(self._state, exchange, model)
            request, (task,) = await _prepared(exchange, answering, model, document, read)
            if request.stream is None:
                (answer,) = await answering.answers(task.asked, task.params)
                await exchange.reply_json(native_document(answer, model.name, shown=request.shown))
                return
            async with event_stream(exchange) as stream, aclosing(answering.events(task.asked, task.params)) as batches:
                async for batch in batches:
                    chunks = [native_chunk(one, model.name, request.shown) for one in batch if isinstance(one, Piece | Answer)]
                    if data := b"".join(event(chunk) for chunk in chunks if chunk is not None):
                        await stream.send(data)

    async def _complete(self, exchange: Exchange, read: Read) -> None:
        document = await exchange.json()
        async with self._state.pool.use(model_of(document)) as model:
            answering = Answering(self._state, exchange, model)
            request, tasks = await _prepared(exchange, answering, model, document, read)
            heading = Heading(model.name, is_chat=request.is_chat)
            if request.stream is None:
                await exchange.reply_json(await _whole(answering, request, tasks, heading))
            else:
                await _streamed(exchange, answering, request, tasks, heading)


async def _prepared(
    exchange: Exchange, answering: Answering, model: LoadedModel, document: Any, read: Read
) -> tuple[CompletionRequest, list[Task]]:
    """Read a request, and render its prompts unless a single one can be rendered with its answer."""
    request = await read_request(exchange, model, document, lambda: read(document, model.sampling))
    params = await resolved(model, request.generation)
    is_rendered = request.echo or len(request.questions) > 1
    tasks: list[Task] = []
    for number, question in enumerate(request.questions):
        asked = await answering.note(await model.render(question) if is_rendered else question)
        echoed = asked.prompt.text if request.echo and isinstance(asked, Turn) else None
        first = number * request.choices
        tasks.append(Task(asked=asked, params=params, samples=request.samples, first=first, echoed=echoed))
    return request, tasks


# --- one document ---------------------------------------------------------------------------------------------------------


async def _whole(answering: Answering, request: CompletionRequest, tasks: Sequence[Task], heading: Heading) -> Document:
    answered = await together([answering.answers(task.asked, task.params, samples=task.samples) for task in tasks])
    choices: list[Document] = []
    for task, answers in zip(tasks, answered, strict=True):
        documents = _documents(heading, request, task)
        for number, answer in enumerate(_best(answers, request.choices)):
            choices.append(documents.choice(_numbered(answer, task.first + number)))
    return heading.document(choices, **_sum(answered))


def _numbered(one: Numbered, index: int) -> Numbered:
    """A piece or an answer with this number, which most have."""
    return one if one.index == index else dataclasses.replace(one, index=index)


def _best(answers: list[Answer], count: int) -> list[Answer]:
    """The answers whose tokens are most probable on the average, in the order in which they were drawn."""
    if count >= len(answers):
        return answers

    def mean(answer: Answer) -> float:
        known = [token.logprob for token in answer.tokens if token.logprob is not None]
        return sum(known) / len(known) if known else float("-inf")

    return sorted(sorted(answers, key=mean, reverse=True)[:count], key=lambda answer: answer.index)


def _sum(answered: Sequence[Sequence[Answer]]) -> Document:
    """Usage of all prompts and answers, and the timings of a single prompt."""
    each = [totals(answers) for answers in answered]
    if len(each) == 1:
        return each[0]
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    usage: Document = {name: sum(one["usage"][name] for one in each) for name in names}
    cached = sum(one["usage"]["prompt_tokens_details"]["cached_tokens"] for one in each)
    return {"usage": {**usage, "prompt_tokens_details": {"cached_tokens": cached}}}


def _documents(heading: Heading, request: CompletionRequest, task: Task) -> Documents:
    shown = request.generation.params.logprobs is not None
    return Documents(heading=heading, logprobs=shown, prompt=task.echoed)


# --- a stream -------------------------------------------------------------------------------------------------------------


async def _streamed(
    exchange: Exchange, answering: Answering, request: CompletionRequest, tasks: Sequence[Task], heading: Heading
) -> None:
    assert request.stream is not None
    async with event_stream(exchange, end=DONE) as stream:
        answered = await together([_task_stream(stream, answering, request, task, heading) for task in tasks])
        if request.stream.usage:
            await stream.send(event(heading.document([], chunk=True, **_sum(answered))))


async def _task_stream(
    stream: EventStream, answering: Answering, request: CompletionRequest, task: Task, heading: Heading
) -> list[Answer]:
    """Send the chunks of the answers to one prompt, and return the answers."""
    assert request.stream is not None
    writer = ChunkWriter(_documents(heading, request, task), task.first, request.stream)
    answers: list[Answer] = []
    async with aclosing(answering.events(task.asked, task.params, samples=task.samples)) as batches:
        async for batch in batches:
            chunks: list[Document] = []
            for one in batch:
                if isinstance(one, Prefill):
                    stream.status = f"prompt {one.done}/{one.total}"
                    chunks += writer.progress(one)
                elif isinstance(one, Piece):
                    stream.status = "answer"
                    chunks += writer.piece(one)
                elif isinstance(one, Answer):
                    answers.append(one)
                    chunks += writer.last(one)
            if chunks:
                await stream.send(b"".join(map(event, chunks)))
    return sorted(answers, key=lambda answer: answer.index)


class ChunkWriter:
    """Maker of the chunks of the answers to one prompt: the role first, then deltas, then an empty delta with the reason."""

    def __init__(self, documents: Documents, first: int, stream: Stream) -> None:
        self._documents = documents
        self._first = first
        self._stream = stream
        self._lengths: dict[int, int] = {}

    def progress(self, prefill: Prefill) -> list[Document]:
        """Return the chunk about the progress of the prompt, if it is wanted."""
        if not self._stream.progress:
            return []
        progress = {"total": prefill.total, "processed": prefill.done}
        return [self._documents.heading.document([], chunk=True, prompt_progress=progress)]

    def piece(self, piece: Piece) -> list[Document]:
        """Return the chunks of a piece."""
        index = self._first + piece.index
        chunks = self._beginning(index)
        chunks += self._documents.chunks(_numbered(piece, index), self._lengths[index])
        self._lengths[index] += sum(len(delta.content) for delta in piece.deltas)
        return chunks

    def last(self, answer: Answer) -> list[Document]:
        """Return the chunk that ends an answer."""
        index = self._first + answer.index
        return [*self._beginning(index), self._documents.last_chunk(_numbered(answer, index))]

    def _beginning(self, index: int) -> list[Document]:
        if index in self._lengths:
            return []
        self._lengths[index] = len(self._documents.prompt or "")
        first = self._documents.first_chunk(index)
        return [first] if first is not None else []
