"""Sinks of the answers of `run`: text as it comes, and text when it is complete. Those of JSON are in `json_output`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any, Protocol

from llamacli.cli.framework.answers import Sink
from llamacli.cli.framework.console import Console
from llamacli.engine.events import Answer, Piece
from llamacli.errors import ConstraintError
from llamacli.render.stream import AnswerStream
from llamacli.render.text import escape
from llamacli.values import dataclass


class ReasoningLine:
    """Reasoning on standard error, on separate lines: dim on a terminal, raw elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def add(self, text: str) -> None:
        """Write a piece."""
        if text:
            shown = escape(text) if self._console.terminals.stderr else text
            self._console.write_error(self._console.styled(shown, "dim") if self._console.terminals.stderr else shown)
            self._last = text[-1]

    def finish(self) -> None:
        """End the line."""
        if self._last not in ("", "\n"):
            self._console.write_error("\n")
        self._last = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStyle:
    """How an answer is shown. `exact` text gets no newline at its end.

    On a terminal on which text can be erased, `is_prose` breaks lines between words, and `markdown` renders Markdown.
    """

    exact: bool
    is_prose: bool
    markdown: bool


class Shown(Protocol):
    """An answer that is shown as it grows."""

    def add(self, text: str) -> None:
        """Show more of it."""

    def finish(self) -> None:
        """Show the rest, and end the line."""


def answer_stream(console: Console, style: AnswerStyle) -> Shown:
    """Return a stream to standard output."""
    if style.markdown and console.redraws:
        from llamacli.render.chat.answer import MarkdownView

        console.adapt_theme()
        size = lambda: (console.width, shutil.get_terminal_size().lines)  # noqa: E731
        return MarkdownView(console.write, size, color=console.stdout_color, shows_reasoning=False)
    width = (lambda: console.width) if style.is_prose and console.redraws else None
    return AnswerStream(console.write, terminal=console.terminals.stdout, exact=style.exact, width=width)


class TextSink:
    """One answer, written as it comes; tool calls as one line of JSON at its end, if they are shown."""

    def __init__(
        self, console: Console, style: AnswerStyle, *, hides_reasoning: bool, prompt: str | None, shows_calls: bool = True
    ) -> None:
        self._console = console
        self._shows_calls = shows_calls
        self._stream = answer_stream(console, style)
        self._reasoning = None if hides_reasoning else ReasoningLine(console)
        if prompt is not None:
            self._stream.add(prompt)

    def add(self, piece: Piece) -> None:
        """Write the text."""
        for delta in piece.deltas:
            if self._reasoning is not None:
                self._reasoning.add(delta.reasoning_content)
                if delta.content:
                    self._reasoning.finish()
            self._stream.add(delta.content)

    def end(self, answer: Answer) -> None:
        """Write the tool calls."""
        self.close()
        if self._shows_calls:
            write_calls(self._console, answer)

    def finish(self, answers: Sequence[Answer]) -> None:
        """Do nothing: all is written."""

    def close(self) -> None:
        """End the lines."""
        if self._reasoning is not None:
            self._reasoning.finish()
        self._stream.finish()


class WholeTextSink:
    """Answers written when all are complete, with an empty line between; or only their first code block."""

    def __init__(
        self,
        console: Console,
        style: AnswerStyle,
        *,
        extract: bool,
        hides_reasoning: bool,
        prompt: str | None,
        shows_calls: bool = True,
    ) -> None:
        self._console = console
        self._shows_calls = shows_calls
        self._style = style
        self._extract = extract
        self._hides_reasoning = hides_reasoning
        self._prompt = prompt

    def add(self, piece: Piece) -> None:
        """Wait for the rest."""

    def end(self, answer: Answer) -> None:
        """Wait for the others."""

    def finish(self, answers: Sequence[Answer]) -> None:
        """Write all.

        Raises:
            ConstraintError: if code is wanted and an answer has none; it is shown on standard error.
        """
        for number, answer in enumerate(answers):
            if number:
                self._console.write("\n")
            reasoning = ReasoningLine(self._console)
            reasoning.add("" if self._hides_reasoning else answer.reasoning_content)
            reasoning.finish()
            stream = answer_stream(self._console, self._style)
            stream.add((self._prompt or "") + (self._code(answer) if self._extract else answer.content))
            stream.finish()
            if self._shows_calls:
                write_calls(self._console, answer)

    def _code(self, answer: Answer) -> str:
        from llamacli.render.code import first_code_block  # only -x needs it

        code = first_code_block(answer.content)
        if code is not None:
            return code
        shown = ReasoningLine(self._console)
        shown.add(answer.content)
        shown.finish()
        if answer.finish_reason == "cancelled":
            return ""
        raise ConstraintError("the answer has no complete fenced code block")

    def close(self) -> None:
        """Do nothing: nothing is open."""


class HeldSink:
    """Holds answers back, until another sink gets them."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    def add(self, piece: Piece) -> None:
        """Keep a piece."""
        self._pieces.append(piece)

    def end(self, answer: Answer) -> None:
        """Wait for another sink."""

    def finish(self, answers: Sequence[Answer]) -> None:
        """Wait for another sink."""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def replay(self, sink: Sink, answer: Answer) -> None:
        """Give an answer to another sink, piece by piece."""
        for piece in self._pieces:
            sink.add(piece)
        sink.end(answer)
        sink.close()


def write_line(console: Console, document: Any) -> None:
    """Write a JSON document on one line of standard output."""
    console.write(json.dumps(document, ensure_ascii=console.terminals.stdout) + "\n")


def write_calls(console: Console, answer: Answer) -> None:
    """Write the tool calls of an answer as one line of JSON, if there are any."""
    if answer.tool_calls:
        from llamacli.openai.documents import tool_calls

        write_line(console, {"tool_calls": tool_calls(answer)})
