"""The model that proposes and explains commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.cli.do.proposal import Proposal, constraint, examples, explanation_prompt, read_proposal, system_prompt
from llamacli.cli.framework.answers import Sink, check_answers, write_answers
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
from llamacli.engine.chat.question import Question
from llamacli.engine.events import Answer, Piece
from llamacli.render.stream import AnswerStream
from llamacli.tools.shell import Shell
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend
    from llamacli.engine.chat.message import Message
    from llamacli.engine.params import GenerationParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """A model, and the shell for which it proposes commands. `template` is the chat template, None for the model's."""

    app: AppContext
    engine: Backend
    params: GenerationParams
    shell: Shell
    template: str | None

    def propose(self, task: str, opening: Sequence[Message], more: str | None) -> tuple[Proposal, Answer]:
        """Return a command for a task. `opening` are messages before it, `more` are instructions of the user.

        Raises:
            ConstraintError: if the answer was cut, or has no command.
            LlamacliError: what rendering and answering raise.
        """
        question = Question(
            text=task,
            conversation=(*examples(self.shell), *opening),
            system=system_prompt(self.shell, more),
            template=self.template,
            constraint=constraint(),
        )
        answer = self._answer(question, CountingSink(self.app.console))
        return read_proposal(answer.content), answer

    def explain(self, command: str) -> None:
        """Write a longer explanation of a command to standard error, as it grows. Raises like `propose`."""
        question = Question(text=command, system=explanation_prompt(self.shell), template=self.template)
        self._answer(question, ErrorSink(self.app.console))

    def _answer(self, question: Question, sink: Sink) -> Answer:
        turn = self.engine.render(question)
        answers = write_answers(self.app, self.engine.answer(turn, self.params), sink, lambda: None)
        if not answers or answers[0].finish_reason == "cancelled":
            raise KeyboardInterrupt
        check_answers(turn, answers, self.engine.n_ctx)
        return answers[0]


class CountingSink:
    """Shows on a terminal that the model is at work."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tokens = 0

    def add(self, piece: Piece) -> None:
        """Count a token."""
        self._tokens += piece.token is not None or bool(piece.deltas)
        if self._console.shows_progress:
            self._console.show_status(f"writing a command: {counted(self._tokens, 'token')}")

    def end(self, answer: Answer) -> None:
        """Do nothing: the answer is read when it is complete."""

    def finish(self, answers: Sequence[Answer]) -> None:
        """Do nothing: the answer is read when it is complete."""

    def close(self) -> None:
        """Remove the line."""
        if self._console.shows_progress:
            self._console.show_status("")


class ErrorSink:
    """Text on standard error, as it comes."""

    def __init__(self, console: Console) -> None:
        width = (lambda: console.width) if console.shows_progress else None
        self._stream = AnswerStream(console.write_error, terminal=console.terminals.stderr, width=width)

    def add(self, piece: Piece) -> None:
        """Write the text."""
        for delta in piece.deltas:
            self._stream.add(delta.content)

    def end(self, answer: Answer) -> None:
        """Do nothing: all is written."""

    def finish(self, answers: Sequence[Answer]) -> None:
        """Do nothing: all is written."""

    def close(self) -> None:
        """End the line."""
        self._stream.finish()
