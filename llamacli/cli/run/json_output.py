"""Sinks of JSON: one document, or a chunk for each delta."""

from __future__ import annotations

from collections.abc import Sequence

from llamacli.cli.framework.console import Console
from llamacli.cli.run.options import OutputOptions
from llamacli.cli.run.output import Sink, write_line
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, Piece
from llamacli.openai.documents import Documents, totals
from llamacli.openai.response import Heading


def make_json_sink(console: Console, turn: Turn, options: OutputOptions, *, model: str, hides_reasoning: bool) -> Sink:
    """Return the sink of --json or --stream-json."""
    documents = Documents(
        heading=Heading(model, is_chat=turn.is_chat),
        hides_reasoning=hides_reasoning,
        logprobs=options.logprobs is not None,
        prompt=turn.prompt.text if options.echo else None,
    )
    return DocumentSink(console, documents) if options.json else ChunkSink(console, documents, options.samples)


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
