"""Answers to one prompt with tools that run: after each answer its calls, until one calls nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from llamacli.cli.run.answer import Answering
from llamacli.cli.run.json_output import write_result, write_rounds
from llamacli.cli.run.output import HeldSink, ReasoningLine
from llamacli.cli.run.runnable_tools import RunnableTools
from llamacli.engine.chat.message import Message, ToolCall
from llamacli.engine.chat.question import Question
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.events import Answer
from llamacli.errors import GateError
from llamacli.units import counted


class ToolRounds:
    """The answers to a question, and the calls between them.

    Only the last answer is for standard output. Which one that is shows when it has ended; text is written as it grows only on
    a terminal, and by --stream-json, which marks the end of each. A constraint is for the last answer, which is generated once
    more for it, without tools. `question` grows by the answers that call, and by the results.
    """

    def __init__(
        self, answering: Answering, tools: RunnableTools, question: Question, constraint: AnswerConstraint | None
    ) -> None:
        self._answering = answering
        self._tools = tools
        self._constraint = constraint
        self._added: list[Message] = []
        self.question = question
        self.answers: list[Answer] = []

    def run(self) -> None:
        """Answer, and run what is called.

        Raises:
            GateError: if there are too many calls.
            KeyboardInterrupt: if the user stopped it.
            LlamacliError: what rendering and answering raise.
        """
        loop = self._tools.loop()
        if not loop.run(self._round, self._add_result):
            if self._answering.output.json:
                self._write_last()
            raise GateError(
                f"stopped after {counted(loop.max_calls, 'tool call')}", hint="--max-tool-calls N allows more of them"
            )
        if self._constraint is not None and self.answers and self.answers[-1].finish_reason == "stop":
            self._answer_constrained(self._constraint)

    def _round(self) -> Sequence[ToolCall]:
        held = None if self._is_live else HeldSink()
        answers = self._answering.answer(self.question, held, shows_calls=False)
        if not answers:
            return ()
        self.answers += answers
        answer = answers[0]
        calls = answer.tool_calls if answer.finish_reason == "stop" else ()
        if calls:
            self._append(answer.message())
        if held is not None:
            self._release(held, answer, calls)
        self.question = self._tools.reoffered(self.question)
        return calls

    @property
    def _is_live(self) -> bool:
        output = self._answering.output
        shows_text = self._answering.app.console.terminals.stdout and not (output.json or output.extract)
        return self._constraint is None and (output.stream_json or shows_text)

    def _release(self, held: HeldSink, answer: Answer, calls: Sequence[ToolCall]) -> None:
        """Write an answer that was held back: the last one, or another one where it belongs."""
        if not calls and self._constraint is None:
            self._write_last()
        elif not self._answering.output.stream_json:
            self._say(answer)
        elif calls and self._answering.turn is not None:
            held.replay(self._answering.sink(self.question, self._answering.turn), answer)

    def _write_last(self) -> None:
        turn, answering = self._answering.turn, self._answering
        if turn is None:
            return
        if answering.output.json:
            write_rounds(answering.app.console, answering.documents(turn), self.answers, self._added)
        else:
            answering.sink(self.question, turn, shows_calls=False, whole=True).finish(self.answers[-1:])

    def _say(self, answer: Answer) -> None:
        """Write what the model says before its last answer to standard error."""
        line = ReasoningLine(self._answering.app.console)
        for text in ("" if self._answering.hides_reasoning else answer.reasoning_content, answer.content.strip()):
            line.add(text)
            line.finish()

    def _answer_constrained(self, constraint: AnswerConstraint) -> None:
        self.question = dataclasses.replace(self.question, constraint=constraint, tool_choice="none")
        is_document = self._answering.output.json
        self.answers += self._answering.answer(self.question, HeldSink() if is_document else None)
        if is_document:
            self._write_last()

    def _add_result(self, message: Message) -> None:
        self._append(message)
        turn, answering = self._answering.turn, self._answering
        if answering.output.stream_json and turn is not None:
            write_result(answering.app.console, answering.documents(turn), message)

    def _append(self, message: Message) -> None:
        """Add a message to the question, after the prompt."""
        prompt = (Message("user", self.question.text),) if self.question.text else ()
        conversation = (*self.question.conversation, *prompt, message)
        self.question = dataclasses.replace(self.question, text="", conversation=conversation)
        self._added.append(message)
