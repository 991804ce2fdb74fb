"""Where the answers of `run` go: text as it comes, text when it is complete, one document, or chunks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from llamacli.cli.framework.console import Console
from llamacli.engine.chat.template import Delta
from llamacli.engine.events import Token
from llamacli.errors import ConstraintError
from llamacli.openai.documents import Documents, Sample, tool_calls
from llamacli.render.code import first_code_block
from llamacli.render.stream import AnswerStream
from llamacli.render.text import escape


class Sink(Protocol):
    """Takes what is new in answers, numbered from 0, and at the end the whole of them."""

    def add(self, index: int, deltas: Sequence[Delta], tokens: Sequence[Token]) -> None:
        """What became certain with these tokens."""

    def end(self, index: int, sample: Sample) -> None:
        """Answer number `index` is complete."""

    def finish(self, samples: Sequence[Sample]) -> None:
        """All answers are complete."""

    def close(self) -> None:
        """Nothing more comes, be it for an error."""


class ReasoningLine:
    """What a model thinks, on standard error: dim on a terminal, as it is elsewhere, on lines of its own."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def add(self, text: str) -> None:
        """Writes a piece of it."""
        if text:
            shown = escape(text) if self._console.terminals.stderr else text
            self._console.write_error(self._console.styled(shown, "dim") if self._console.terminals.stderr else shown)
            self._last = text[-1]

    def finish(self) -> None:
        """Ends the line."""
        if self._last not in ("", "\n"):
            self._console.write_error("\n")
        self._last = ""


class TextSink:
    """One answer, written as it comes; calls of tools as one line of JSON at its end."""

    def __init__(self, console: Console, *, exact: bool, hides_reasoning: bool, prompt: str | None) -> None:
        self._console = console
        self._stream = AnswerStream(console.write, terminal=console.terminals.stdout, exact=exact)
        self._reasoning = None if hides_reasoning else ReasoningLine(console)
        if prompt is not None:
            self._stream.add(prompt)

    def add(self, index: int, deltas: Sequence[Delta], tokens: Sequence[Token]) -> None:
        """Writes it."""
        for delta in deltas:
            if self._reasoning is not None:
                self._reasoning.add(delta.reasoning_content)
                if delta.content:
                    self._reasoning.finish()
            self._stream.add(delta.content)

    def end(self, index: int, sample: Sample) -> None:
        """Writes the calls of tools."""
        self.close()
        write_calls(self._console, sample)

    def finish(self, samples: Sequence[Sample]) -> None:
        """Nothing is left."""

    def close(self) -> None:
        """Ends the lines."""
        if self._reasoning is not None:
            self._reasoning.finish()
        self._stream.finish()


class WholeTextSink:
    """Answers that are written when all are complete, with an empty line between; or only their first block of code."""

    def __init__(self, console: Console, *, exact: bool, extract: bool, hides_reasoning: bool, prompt: str | None) -> None:
        self._console = console
        self._exact = exact
        self._extract = extract
        self._hides_reasoning = hides_reasoning
        self._prompt = prompt

    def add(self, index: int, deltas: Sequence[Delta], tokens: Sequence[Token]) -> None:
        """Waits for the rest."""

    def end(self, index: int, sample: Sample) -> None:
        """Waits for the others."""

    def finish(self, samples: Sequence[Sample]) -> None:
        """Writes all.

        Raises:
            ConstraintError: code was asked for, and an answer has none; it is shown on standard error.
        """
        for number, sample in enumerate(samples):
            if number:
                self._console.write("\n")
            reasoning = ReasoningLine(self._console)
            reasoning.add("" if self._hides_reasoning else sample.answer.reasoning_content)
            reasoning.finish()
            stream = AnswerStream(self._console.write, terminal=self._console.terminals.stdout, exact=self._exact)
            stream.add((self._prompt or "") + (self._code(sample) if self._extract else sample.answer.content))
            stream.finish()
            write_calls(self._console, sample)

    def _code(self, sample: Sample) -> str:
        code = first_code_block(sample.answer.content)
        if code is not None:
            return code
        shown = ReasoningLine(self._console)
        shown.add(sample.answer.content)
        shown.finish()
        if sample.finished.reason == "cancelled":
            return ""  # who stopped it knows why there is none
        raise ConstraintError("the answer has no fenced code block that is complete")

    def close(self) -> None:
        """Nothing is open."""


class DocumentSink:
    """One JSON document when all answers are complete."""

    def __init__(self, console: Console, documents: Documents) -> None:
        self._console = console
        self._documents = documents

    def add(self, index: int, deltas: Sequence[Delta], tokens: Sequence[Token]) -> None:
        """Waits for the rest."""

    def end(self, index: int, sample: Sample) -> None:
        """Waits for the others."""

    def finish(self, samples: Sequence[Sample]) -> None:
        """Writes the document."""
        write_line(self._console, self._documents.completion(samples))

    def close(self) -> None:
        """Nothing is open."""


class ChunkSink:
    """OpenAI's chunks, one a line, as they come."""

    def __init__(self, console: Console, documents: Documents, samples: int) -> None:
        self._console = console
        self._documents = documents
        self._lengths = [len(documents.prompt or "")] * samples
        for chunk in documents.first_chunks(samples):
            write_line(console, chunk)

    def add(self, index: int, deltas: Sequence[Delta], tokens: Sequence[Token]) -> None:
        """Writes a chunk for each delta; log probabilities come with the first."""
        for delta in deltas or ([Delta()] if tokens and self._documents.logprobs else []):
            chunk = self._documents.delta_chunk(index, delta, tokens, self._lengths[index])
            self._lengths[index] += len(delta.content)
            if chunk is not None:
                write_line(self._console, chunk)
            tokens = ()

    def end(self, index: int, sample: Sample) -> None:
        """Writes the last chunk of the answer."""
        write_line(self._console, self._documents.last_chunk(index, sample.answer, sample.finished))

    def finish(self, samples: Sequence[Sample]) -> None:
        """Nothing is left."""

    def close(self) -> None:
        """Nothing is open."""


def write_line(console: Console, document: Any) -> None:
    """A JSON document on one line of standard output."""
    console.write(json.dumps(document, ensure_ascii=console.terminals.stdout) + "\n")


def write_calls(console: Console, sample: Sample) -> None:
    """The calls of tools in an answer, as one line of JSON, if there are any."""
    if sample.answer.tool_calls:
        write_line(console, {"tool_calls": tool_calls(sample.answer)})
