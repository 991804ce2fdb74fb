"""Parser of a model's answer in its template's format: llama.cpp's (`common/chat.h`), reached through the shim."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from llamacli.binding import bridge
from llamacli.engine.chat.message import ToolCall
from llamacli.engine.events import Delta, ToolCallDelta
from llamacli.errors import ConstraintError


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The text of an answer, parsed. `well_formed` is False for text outside the model's own format: all of it is content."""

    content: str
    reasoning_content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    well_formed: bool = True


class AnswerParser:
    """Parser of one growing answer.

    llama.cpp parses an answer from its start each time. To bound the cost of a piece of a long answer, no parse starts until
    several times the duration of the last one has passed; withheld text comes with the next parse.
    """

    PAUSE = 8.0
    """Pause before the next parse, as a multiple of the duration of the last one."""

    def __init__(self, answer_format: Mapping[str, Any]) -> None:
        self._parser = bridge.Parser(answer_format)
        self._pieces: list[str] = []
        self._shown = ["", ""]  # the reasoning and the content of the deltas so far
        self._next = 0.0

    def feed(self, text: str) -> tuple[Delta, ...]:
        """Add text and return the deltas that became certain with it, often none."""
        self._pieces.append(text)
        begin = time.monotonic()
        if begin < self._next:
            return ()
        try:
            deltas = self._deltas(self._parse(partial=True))
        except ConstraintError:
            deltas = ()  # it may still become well-formed
        now = time.monotonic()
        self._next = now + self.PAUSE * (now - begin)
        return deltas

    def finish(self, *, complete: bool = True) -> tuple[ParsedAnswer, tuple[Delta, ...]]:
        """Return the whole answer and its remaining deltas. `complete` is False for an answer that was cut.

        Text outside the format, and a cut answer of which the format claims nothing, is content: no answer disappears.
        """
        try:
            parsed = self._parse(partial=not complete)
        except ConstraintError:
            return self._unparsed()
        answer, deltas = _answer(parsed), self._deltas(parsed)
        claimed = answer.content or answer.reasoning_content or answer.tool_calls
        return (answer, deltas) if claimed or not any(map(str.strip, self._pieces)) else self._unparsed()

    def _unparsed(self) -> tuple[ParsedAnswer, tuple[Delta, ...]]:
        """Return all of the text as content, and the part that no delta had."""
        text = "".join(self._pieces)
        rest = self._rest(text)
        return ParsedAnswer(text, well_formed=False), (Delta(rest),) if rest else ()

    def _deltas(self, parsed: Mapping[str, Any]) -> tuple[Delta, ...]:
        deltas = tuple(_delta(delta) for delta in parsed["deltas"])
        self._shown[0] += "".join(delta.reasoning_content for delta in deltas)
        self._shown[1] += "".join(delta.content for delta in deltas)
        return deltas

    def _rest(self, text: str) -> str:
        """The text after that of the deltas so far."""
        at = 0
        for shown in self._shown:
            found = text.find(shown, at)
            at = at if found < 0 else found + len(shown)
        return text[at:]

    def _parse(self, *, partial: bool) -> bridge.Json:
        text = "".join(self._pieces)
        self._pieces = [text]
        return self._parser.parse(text, partial=partial)

    def close(self) -> None:
        """Free the parser."""
        self._parser.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _answer(parsed: Mapping[str, Any]) -> ParsedAnswer:
    calls = tuple(ToolCall(call["name"], call["arguments"], id=call["id"] or None) for call in parsed["tool_calls"])
    return ParsedAnswer(parsed["content"], parsed["reasoning_content"], calls)


def _delta(delta: Mapping[str, Any]) -> Delta:
    call = delta.get("tool_call")
    change = ToolCallDelta(call["index"], call["id"], call["name"], call["arguments"]) if call else None
    return Delta(delta["content"], delta["reasoning_content"], change)
