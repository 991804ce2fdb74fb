"""Answers as the typed events of the Responses and Messages APIs, or as the document that they add up to."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, Protocol

from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import AnswerEvent, Prefill
from llamacli.engine.params import GenerationParams
from llamacli.openai.errors import Problem
from llamacli.openai.response import Document
from llamacli.server.http.event_stream import event, event_stream
from llamacli.server.http.exchange import Exchange, problem_and_headers
from llamacli.server.routes.answering import Answering


class GrowingDocument(Protocol):
    """A response or a message as it grows: `ResponseStream`, `MessageStream`."""

    def begin(self) -> list[Document]:
        """Return the first events."""

    def feed(self, event: AnswerEvent) -> list[Document]:
        """Return the events of an event of the engine."""

    def fail(self, problem: Problem) -> list[Document]:
        """Return the events that end a document that failed."""


async def grow(answering: Answering, asked: Turn | Question, params: GenerationParams, document: GrowingDocument) -> None:
    """Let a document grow to its end. Raises as `Answering.events`."""
    document.begin()
    async with aclosing(answering.events(asked, params)) as batches:
        async for batch in batches:
            for one in batch:
                document.feed(one)


async def stream_events(
    exchange: Exchange, answering: Answering, asked: Turn | Question, params: GenerationParams, document: GrowingDocument
) -> None:
    """Send the events of a growing document. What fails before the first of them is raised, for an HTTP status."""
    begun = False

    def beginning() -> list[Document]:
        nonlocal begun
        events = [] if begun else document.begin()
        begun = True
        return events

    def failure(error: Exception) -> bytes:
        return _encoded([*beginning(), *document.fail(problem_and_headers(error)[0])])

    async with (
        event_stream(exchange, error_event=failure) as stream,
        aclosing(answering.events(asked, params)) as batches,
    ):
        async for batch in batches:
            events: list[Document] = []
            for one in batch:
                if isinstance(one, Prefill):
                    stream.status = f"prompt {one.done}/{one.total}"
                else:
                    events += [*beginning(), *document.feed(one)]
            if events:
                await stream.send(_encoded(events))


def _encoded(events: list[Document]) -> bytes:
    return b"".join(event(one, name=_type_of(one)) for one in events)


def _type_of(document: Any) -> str:
    return str(document["type"])
