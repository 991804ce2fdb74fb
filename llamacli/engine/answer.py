"""Reading an answer while it grows: what of it is content, reasoning, or the call of a tool."""

from __future__ import annotations

import dataclasses
import secrets
from types import TracebackType
from typing import Self

from llamacli.engine.chat import Answer, AnswerParser, Delta
from llamacli.engine.turn import Turn


class AnswerReader:
    """Takes the text of one answer to `turn` and tells what is new in it. Every tool call gets an id, as OpenAI's have."""

    def __init__(self, turn: Turn) -> None:
        self._parser = AnswerParser(turn.answer_format) if turn.answer_format is not None else None
        self._is_held = turn.is_held
        self._trimming = self._parser is not None  # what stands between thinking and content belongs to neither
        self._content: list[str] = []
        self._ids: dict[int, str] = {}

    def feed(self, text: str) -> tuple[Delta, ...]:
        """Adds text to the answer: what became certain with it, often nothing."""
        if not text:
            return ()
        if self._parser is None:
            self._content.append(text)
            return (Delta(text),)
        return self._shaped(self._parser.feed(text))

    def finish(self, *, complete: bool) -> tuple[Answer, tuple[Delta, ...]]:
        """The whole answer, and what was not yet in the deltas. `complete` is False when it was cut off."""
        if self._parser is None:
            return Answer("".join(self._content)), ()
        answer, deltas = self._parser.finish(complete=complete and not self._is_held)
        deltas = self._shaped(deltas)
        content = answer.content.lstrip()
        calls = tuple(dataclasses.replace(call, id=self._id(i, call.id)) for i, call in enumerate(answer.tool_calls))
        return dataclasses.replace(answer, content=content, tool_calls=calls), deltas

    def _shaped(self, deltas: tuple[Delta, ...]) -> tuple[Delta, ...]:
        shaped = []
        for delta in deltas:
            call = delta.tool_call
            if call is not None and call.name:
                call = dataclasses.replace(call, id=self._id(call.index, call.id))
            content = delta.content
            if self._trimming and content:
                content = content.lstrip()
                self._trimming = not content
            if content or delta.reasoning_content or call is not None:
                shaped.append(Delta(content, delta.reasoning_content, call))
        return tuple(shaped)

    def _id(self, index: int, given: str | None) -> str:
        if index not in self._ids:
            self._ids[index] = given or f"call_{secrets.token_hex(12)}"
        return self._ids[index]

    def close(self) -> None:
        """Frees the parser."""
        if self._parser is not None:
            self._parser.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
