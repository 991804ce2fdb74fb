"""From the events of a sequence to its answer: what of the growing text is content, reasoning or a tool call."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import closing
from types import TracebackType
from typing import Self

from llamacli.engine.chat.answers.parser import AnswerParser, ParsedAnswer
from llamacli.engine.chat.answers.start import StartFilter
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent, Delta, Event, Failed, Finished, Piece, Prefill, Token


def read_answers(
    events: Generator[tuple[int, Event], None, None], builder_of: Callable[[int], AnswerBuilder]
) -> Generator[AnswerEvent, None, None]:
    """Yield the answer events of numbered sequences. Each answer ends with one `Answer` or `Failed`.

    `builder_of` returns the builder of an answer's number at its first event. Closing the iterator closes `events`.
    """
    builders: dict[int, AnswerBuilder] = {}
    try:
        with closing(events):
            for number, event in events:
                builder = builders.get(number)
                if builder is None:
                    builder = builders[number] = builder_of(number)
                if isinstance(event, Token):
                    yield builder.add(event)
                elif isinstance(event, Prefill):
                    yield dataclasses.replace(event, sequence=builder.index)
                else:
                    del builders[number]
                    yield from builder.end(event)
    finally:
        for builder in builders.values():
            builder.close()


class AnswerBuilder:
    """Builder of answer number `index` to `turn` from the events of its sequence.

    `keeps_tokens`: the answer has its tokens. `raises`: an error of the sequence is raised, not yielded. `requested` is the
    time of the request by `time.perf_counter`; None is now.
    """

    def __init__(
        self, turn: Turn, index: int = 0, *, keeps_tokens: bool = False, raises: bool = False, requested: float | None = None
    ) -> None:
        self.index = index
        self._reader = AnswerReader(turn)
        self._start = turn.start
        self._known = len(turn.started)  # tokens of the start that are still to come
        self._filter = StartFilter(turn.start) if turn.start is not None else None
        self._tokens: list[Token] | None = [] if keeps_tokens else None
        self._raises = raises
        self._requested = time.perf_counter() if requested is None else requested
        self._first_token_ms: float | None = None

    def add(self, token: Token) -> Piece:
        """Add a token and return what became certain with it, nothing of the known start."""
        if self._known:
            self._known -= 1
            return Piece(self.index, self._new(self._reader.feed(token.text)))
        if self._first_token_ms is None:
            self._first_token_ms = (time.perf_counter() - self._requested) * 1e3
        if self._tokens is not None:
            self._tokens.append(token)
        return Piece(self.index, self._new(self._reader.feed(token.text)), token)

    def end(self, event: Finished | Failed) -> list[AnswerEvent]:
        """Return the last events: the remaining deltas and the answer, or the failure. Frees the parser."""
        try:
            if isinstance(event, Failed):
                if self._raises:
                    raise event.error
                return [Failed(self.index, event.error)]
            deltas = self._reader.feed(event.text)
            parsed, rest = self._reader.finish(complete=event.reason == "stop")
        finally:
            self.close()
        deltas = self._new(deltas + rest)
        new = Delta(parsed.content, parsed.reasoning_content)
        if self._start is not None:
            new = StartFilter(self._start).delta(new)
        answer = Answer(
            index=self.index,
            content=new.content,
            reasoning_content=new.reasoning_content,
            tool_calls=parsed.tool_calls,
            well_formed=parsed.well_formed,
            tokens=tuple(self._tokens or ()),
            finish_reason=event.reason,
            usage=event.usage,
            timings=event.timings,
            prompt=event.prompt,
            stop_text=event.stop_text,
            satisfied=event.satisfied,
            first_token_ms=self._first_token_ms,
        )
        return [Piece(self.index, deltas), answer] if deltas else [answer]

    def _new(self, deltas: tuple[Delta, ...]) -> tuple[Delta, ...]:
        """Return the deltas without the known start."""
        if self._filter is None:
            return deltas
        return tuple(new for delta in deltas if (new := self._filter.delta(delta)) != Delta())

    def close(self) -> None:
        """Free the parser."""
        self._reader.close()


class AnswerReader:
    """Parser of one growing answer to `turn`: text in, deltas out. Every tool call gets an id, as OpenAI's have."""

    def __init__(self, turn: Turn) -> None:
        self._parser = AnswerParser(turn.answer_format) if turn.answer_format is not None else None
        self._is_constrained = turn.is_constrained
        self._trimming = self._parser is not None  # white space between reasoning and content belongs to neither
        self._content: list[str] = []
        self._ids: dict[int, str] = {}

    def feed(self, text: str) -> tuple[Delta, ...]:
        """Add text and return the deltas that became certain with it, often none."""
        if not text:
            return ()
        if self._parser is None:
            self._content.append(text)
            return (Delta(text),)
        return self._shaped(self._parser.feed(text))

    def finish(self, *, complete: bool) -> tuple[ParsedAnswer, tuple[Delta, ...]]:
        """Return the whole answer and its remaining deltas. `complete` is False for an answer that was cut."""
        if self._parser is None:
            return ParsedAnswer("".join(self._content)), ()
        answer, deltas = self._parser.finish(complete=complete and not self._is_constrained)
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
        """Free the parser."""
        if self._parser is not None:
            self._parser.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
