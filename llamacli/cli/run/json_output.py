"""Sinks of JSON: one document, or a chunk for each delta."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from llamacli.cli.framework.answers import Sink
from llamacli.cli.framework.console import Console
from llamacli.cli.run.options import OutputOptions
from llamacli.cli.run.output import write_line
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, Piece
from llamacli.openai.documents import Documents, sums, totals
from llamacli.openai.response import Heading

if TYPE_CHECKING:
    from llamacli.retrieval.quotation import Quotations


def make_documents(
    turn: Turn, options: OutputOptions, *, model: str, hides_reasoning: bool, quotations: Quotations | None = None
) -> Documents:
    """Return the maker of the documents of --json or --stream-json. `quotations` are the passages in the prompt."""
    return Documents(
        heading=Heading(model, is_chat=turn.is_chat),
        hides_reasoning=hides_reasoning,
        logprobs=options.logprobs is not None,
        prompt=turn.prompt.text if options.echo else None,
        passages=partial(_passages, quotations) if quotations is not None else None,
    )


def _passages(quotations: Quotations, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    return quotations.to_json([answer.content for answer in answers])


def make_json_sink(console: Console, documents: Documents, options: OutputOptions) -> Sink:
    """Return the sink of --json or --stream-json."""
    return DocumentSink(console, documents) if options.json else ChunkSink(console, documents, options.samples)


def write_rounds(console: Console, documents: Documents, answers: Sequence[Answer], messages: Sequence[Message]) -> None:
    """Write the document of the last of several answers, with the messages before it; tokens and times are those of all."""
    document = documents.completion(answers[-1:])
    write_line(console, {**document, **sums(answers), "messages": [message.to_json() for message in messages]})


def write_result(console: Console, documents: Documents, message: Message) -> None:
    """Write the result of a tool as a chunk without choices, which follows the answer that called it."""
    write_line(console, documents.heading.document([], chunk=True, tool_result=message.to_json()))


class DocumentSink:
    """One JSON document when all answers are complete."""

    def __init__(self, console: Console, documents: Documents) -> None:
        self._console = console
        self._documents = documents

    def add(self, piece: Piece) -> None:
        """Wait for the rest."""

    def end(self, answer: Answer) -> None:
        """Wait for the others."""

    def finish(self, answers: Sequence[Answer]) -> None:
        """Write the document."""
        write_line(self._console, self._documents.completion(answers))

    def close(self) -> None:
        """Do nothing: nothing is open."""


class ChunkSink:
    """OpenAI's chunks as they come, one a line."""

    def __init__(self, console: Console, documents: Documents, samples: int) -> None:
        self._console = console
        self._documents = documents
        self._lengths = [len(documents.prompt or "")] * samples
        for index in range(samples):
            if (chunk := documents.first_chunk(index)) is not None:
                write_line(console, chunk)

    def add(self, piece: Piece) -> None:
        """Write a chunk for each delta."""
        for chunk in self._documents.chunks(piece, self._lengths[piece.index]):
            write_line(self._console, chunk)
        self._lengths[piece.index] += sum(len(delta.content) for delta in piece.deltas)

    def end(self, answer: Answer) -> None:
        """Write the last chunk of an answer."""
        write_line(self._console, self._documents.last_chunk(answer, **totals([answer])))

    def finish(self, answers: Sequence[Answer]) -> None:
        """Do nothing: all is written."""

    def close(self) -> None:
        """Do nothing: nothing is open."""
