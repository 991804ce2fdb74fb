"""Parsing of answers in a chat template's format, complete or growing, by llama.cpp (`common/chat.h`)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from llamacli.binding import bridge
from llamacli.engine.chat.message import ToolCall
from llamacli.engine.chat.tools.names import OriginalNames
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
        self._marks: list[str] = given.pop("marks", [])
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

        Text outside the format, and text that no part of it claims, is content: no answer disappears.
        """
        try:
            parsed = self._parse(partial=not complete)
        except ConstraintError:
            return self._unparsed()
        answer, deltas = self._answer(parsed), self._deltas(parsed)
        if not (answer.content or answer.reasoning_content or answer.tool_calls) and any(map(str.strip, self._pieces)):
            return self._unparsed()
        unclaimed = self._unclaimed(answer)
        if unclaimed:
            return dataclasses.replace(answer, content=answer.content + unclaimed), (*deltas, Delta(unclaimed))
        return answer, (*deltas, *self._withheld(answer))

    def _unclaimed(self, answer: ParsedAnswer) -> str:
        """Return the text after the reasoning and the content that is neither a mark of the format nor a tool call.

        It is the start of a call that was cut, or of something that looks like one.
        """
        shown = (answer.reasoning_content, answer.content)
        if answer.tool_calls or not all(text in self._pieces[0] for text in shown):
            return ""
        rest = text_after(self._pieces[0], shown)
        plain = rest
        for mark in self._marks:
            plain = plain.replace(mark, "")
        plain = plain.strip()
        if not plain or (not answer.content and any(mark.strip().startswith(plain) for mark in self._marks)):
            return ""
        return rest

    def _unparsed(self) -> tuple[ParsedAnswer, tuple[Delta, ...]]:
        """Return all of the text as content, and the part that no delta had."""
        text = "".join(self._pieces)
        rest = text_after(text, self._shown)
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


def text_after(text: str, parts: Sequence[str]) -> str:
    """Return the rest of a text after parts of it that follow each other; parts that are missing are passed over."""
    at = 0
    for part in parts:
        found = text.find(part, at)
        at = at if found < 0 else found + len(part)
    return text[at:]
