"""Parsing of answers in a chat template's format, complete or growing, by llama.cpp (`common/chat.h`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from llamacli.binding import bridge
from llamacli.engine.chat.message import ToolCall
from llamacli.engine.chat.tool_names import OriginalNames
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
    """Parser of one answer while it grows, for the `answer_format` of a rendered prompt.

    llama.cpp parses an answer from its start each time. So that long answers stay linear, the next parse waits several times as
    long as the last one took; withheld text comes with it.
    """

    PAUSE = 8.0
    """The wait before the next parse, as a multiple of the duration of the last one."""

    def __init__(self, answer_format: Mapping[str, Any]) -> None:
        given = dict(answer_format)
        self._names = OriginalNames(given.pop("original_names", {}))
        self._most_calls: int | None = given.pop("most_calls", None)
        self._parser = bridge.Parser(given)
        self._pieces: list[str] = []
        self._shown = ["", ""]  # the reasoning and the content of the deltas so far
        self._calls: dict[int, str] = {}  # the tools of the calls so far, under their unique names
        self._next = 0.0

    def feed(self, text: str) -> tuple[Delta, ...]:
        """Add text to the answer, and return what has become certain, often nothing."""
        self._pieces.append(text)
        begin = time.monotonic()
        if begin < self._next:
            return ()
        try:
            deltas = self._deltas(self._parse(partial=True))
        except ConstraintError:
            deltas = ()  # it may become well-formed; `finish` decides
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
        answer, deltas = self._answer(parsed), self._deltas(parsed)
        if not (answer.content or answer.reasoning_content or answer.tool_calls) and any(map(str.strip, self._pieces)):
            return self._unparsed()
        return answer, (*deltas, *self._withheld(answer))

    def _unparsed(self) -> tuple[ParsedAnswer, tuple[Delta, ...]]:
        """Return all of the text as content, and the part that no delta had."""
        text = "".join(self._pieces)
        rest = self._rest(text)
        return ParsedAnswer(text, well_formed=False), (Delta(rest),) if rest else ()

    def _deltas(self, parsed: Mapping[str, Any]) -> tuple[Delta, ...]:
        deltas = tuple(found for delta in parsed["deltas"] if (found := self._delta(delta)) != Delta())
        self._shown[0] += "".join(delta.reasoning_content for delta in deltas)
        self._shown[1] += "".join(delta.content for delta in deltas)
        return deltas

    def _delta(self, delta: Mapping[str, Any]) -> Delta:
        call = delta.get("tool_call")
        if not call or not self._is_counted(call["index"]):
            return Delta(delta["content"], delta["reasoning_content"])
        name = self._calls.setdefault(call["index"], call["name"])
        # The keys of partial arguments cannot be renamed, so these come with the end.
        arguments = "" if self._names.changes_parameters(name) else call["arguments"]
        original = self._names.tool(call["name"]) if call["name"] else ""
        return Delta(
            delta["content"], delta["reasoning_content"], ToolCallDelta(call["index"], call["id"], original, arguments)
        )

    def _withheld(self, answer: ParsedAnswer) -> Iterator[Delta]:
        """Yield the arguments that the deltas lack, under the caller's names."""
        for index, call in enumerate(answer.tool_calls):
            if self._names.changes_parameters(self._calls.get(index, "")):
                yield Delta(tool_call=ToolCallDelta(index, "", "", call.arguments))

    def _answer(self, parsed: Mapping[str, Any]) -> ParsedAnswer:
        calls = tuple(
            ToolCall(
                self._names.tool(call["name"]), self._names.arguments(call["name"], call["arguments"]), id=call["id"] or None
            )
            for index, call in enumerate(parsed["tool_calls"])
            if self._is_counted(index)
        )
        return ParsedAnswer(parsed["content"], parsed["reasoning_content"], calls)

    def _is_counted(self, index: int) -> bool:
        return self._most_calls is None or index < self._most_calls

    def _rest(self, text: str) -> str:
        """Return the text after what the deltas have shown of it."""
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
