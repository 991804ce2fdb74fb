"""From the chunks of a stream, or one whole document, to the events of answers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llamacli.engine.chat.message import ToolCall
from llamacli.engine.events import (
    Answer,
    Delta,
    FinishReason,
    Piece,
    Timings,
    Token,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

_REASONS: dict[str, FinishReason] = {"stop": "stop", "tool_calls": "stop", "function_call": "stop", "length": "length"}
_MOST_CALLS = 1024


@dataclass(slots=True)
class _Growing:
    """One growing answer, number `index` of its caller."""

    index: int
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[dict[str, str]] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    pieces: int = 0
    reason: str | None = None


class AnswerReader:
    """Reader of the answers to one request. Choice number N of the server is answer number `indexes[N]` of the caller.

    Whatever has not the form of OpenAI's chunks is passed over, so that no server can break the reader.
    """

    def __init__(self, indexes: Sequence[int], *, keeps_tokens: bool) -> None:
        self._growing = {number: _Growing(index) for number, index in enumerate(indexes)}
        self._keeps_tokens = keeps_tokens
        self._started = time.perf_counter()
        self._first: float | None = None
        self._usage: Mapping[str, Any] = {}
        self._timings: Mapping[str, Any] = {}

    @property
    def has_begun(self) -> bool:
        """True once something of an answer has come."""
        return self._first is not None

    @property
    def lacks_logprobs(self) -> bool:
        """True if text has come without the log probabilities that were asked for."""
        return self._keeps_tokens and any(one.content and not one.tokens for one in self._growing.values())

    @property
    def withheld(self) -> bool:
        """True if the server has withheld the rest of an answer."""
        return any(one.reason == "content_filter" for one in self._growing.values())

    def feed(self, document: Mapping[str, Any]) -> Iterator[Piece]:
        """Yield the pieces of a chunk, or of a whole document."""
        if isinstance(usage := document.get("usage"), Mapping):
            self._usage = usage
        if isinstance(timings := document.get("timings"), Mapping):
            self._timings = timings
        choices = document.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and (growing := self._growing.get(_number(choice.get("index"), 0))) is not None:
                yield from self._read(growing, choice)
                if isinstance(reason := choice.get("finish_reason"), str):
                    growing.reason = reason

    def _read(self, growing: _Growing, choice: Mapping[str, Any]) -> Iterator[Piece]:
        deltas = tuple(_deltas(growing, choice))
        tokens = _tokens(choice.get("logprobs")) if self._keeps_tokens else []
        if not deltas and not tokens:
            return
        growing.pieces += 1
        growing.tokens += tokens
        if self._first is None:
            self._first = time.perf_counter()
        yield Piece(growing.index, deltas, tokens[0] if tokens else None)
        for token in tokens[1:]:
            yield Piece(growing.index, (), token)

    def ended(self) -> list[Answer]:
        """Return the answers that the server has ended."""
        done = [one for one in self._growing.values() if one.reason is not None]
        return [
            self._answer(one, _REASONS.get(one.reason or "", "length"), number, len(done)) for number, one in enumerate(done)
        ]

    def cut(self, reason: FinishReason) -> list[Answer]:
        """Return all answers as they are; those that have not ended end for this reason."""
        every = list(self._growing.values())
        return [
            self._answer(one, _REASONS.get(one.reason, "length") if one.reason is not None else reason, number, len(every))
            for number, one in enumerate(every)
        ]

    @property
    def unbegun(self) -> list[int]:
        """The numbers of answers of which nothing has come."""
        return [one.index for one in self._growing.values() if one.reason is None and not one.pieces]

    @property
    def is_whole(self) -> bool:
        """True if each answer has ended, or has not begun."""
        return all(one.reason is not None or not one.pieces for one in self._growing.values())

    def _answer(self, growing: _Growing, reason: FinishReason, place: int, count: int) -> Answer:
        usage = self._usage_of(growing, place, count)
        return Answer(
            index=growing.index,
            content="".join(growing.content),
            reasoning_content="".join(growing.reasoning),
            tool_calls=tuple(
                ToolCall(call["name"], call["arguments"], call["id"] or None) for call in growing.calls if call["name"]
            ),
            tokens=tuple(growing.tokens),
            finish_reason=reason,
            usage=usage,
            timings=self._times(usage),
            first_token_ms=(self._first - self._started) * 1e3 if self._first is not None else None,
        )

    def _usage_of(self, growing: _Growing, place: int, count: int) -> Usage:
        """Token counts: those of one answer, or this answer's share of those of several."""
        prompt = _number(self._usage.get("prompt_tokens"), 0)
        completion = self._usage.get("completion_tokens")
        own = len(growing.tokens) or growing.pieces
        if isinstance(completion, int) and completion >= 0:
            own = completion // count + (place < completion % count)
        details = self._usage.get("prompt_tokens_details")
        cached = _number(details.get("cached_tokens"), 0) if isinstance(details, Mapping) else 0
        return Usage(prompt, own, min(cached, prompt))

    def _times(self, usage: Usage) -> Timings:
        """The server's own timings, or what the clock here shows."""
        names = ("prompt_n", "prompt_ms", "predicted_n", "predicted_ms")
        told = [self._timings.get(name) for name in names]
        if all(isinstance(one, int | float) and 0 <= one < 1e15 for one in told):
            return Timings(int(told[0] or 0), float(told[1] or 0), int(told[2] or 0), float(told[3] or 0))
        now = time.perf_counter()
        first = self._first if self._first is not None else now
        evaluated = usage.prompt_tokens - usage.cached_tokens
        return Timings(evaluated, (first - self._started) * 1e3, usage.completion_tokens, (now - first) * 1e3)


def joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield pieces with the text of adjacent ones together, so that what came at once is shown at once.

    Those with tokens or tool calls stay as they are.
    """
    text: Piece | None = None
    for piece in pieces:
        if piece.token is not None or any(delta.tool_call is not None for delta in piece.deltas):
            if text is not None:
                yield text
            yield piece
            text = None
        elif text is None or text.index != piece.index:
            if text is not None:
                yield text
            text = piece
        else:
            text = Piece(piece.index, _with_text(text.deltas, piece.deltas))
    if text is not None:
        yield text


def _with_text(before: tuple[Delta, ...], after: tuple[Delta, ...]) -> tuple[Delta, ...]:
    """Deltas of text in order, those of one kind in a row as one."""
    deltas = list(before)
    for delta in after:
        last = deltas[-1] if deltas else Delta()
        if bool(last.content) == bool(delta.content):
            deltas[-1:] = [Delta(last.content + delta.content, last.reasoning_content + delta.reasoning_content)]
        else:
            deltas.append(delta)
    return tuple(deltas)


def _deltas(growing: _Growing, choice: Mapping[str, Any]) -> Iterator[Delta]:
    """The deltas of a choice, kept in the growing answer. A whole document has a message in place of a delta."""
    part = choice.get("delta", choice.get("message"))
    part = part if isinstance(part, Mapping) else {}
    reasoning = part.get("reasoning_content", part.get("reasoning"))
    if isinstance(reasoning, str) and reasoning:
        growing.reasoning.append(reasoning)
        yield Delta(reasoning_content=reasoning)
    content = choice.get("text", part.get("content") or part.get("refusal"))
    if isinstance(content, str) and content:
        growing.content.append(content)
        yield Delta(content)
    calls = part.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, Mapping) and (delta := _call_delta(growing, call, place)) is not None:
            yield Delta(tool_call=delta)


def _calls(growing: _Growing) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(call["name"], call["arguments"], call["id"] or None) for call in growing.calls if call["name"])


def _call_delta(growing: _Growing, call: Mapping[str, Any], place: int) -> ToolCallDelta | None:
    """The new text of a tool call. One without an index, as some servers send, is at its place in the list."""
    number = _number(call.get("index", place))
    function = call.get("function")
    if not 0 <= number < _MOST_CALLS or not isinstance(function, Mapping):
        return None
    while len(growing.calls) <= number:
        growing.calls.append({"id": "", "name": "", "arguments": ""})
    known = growing.calls[number]
    name, arguments, identity = function.get("name"), function.get("arguments"), call.get("id")
    name = name if isinstance(name, str) and not known["name"] else ""
    known["name"] = known["name"] or name
    known["id"] = known["id"] or (identity if isinstance(identity, str) else "")
    text = arguments if isinstance(arguments, str) else ""
    known["arguments"] += text
    return ToolCallDelta(number, known["id"], name, text)


def _tokens(logprobs: Any) -> list[Token]:
    """The tokens of a chat's or a text's log probabilities. Their ids are -1 where the server does not tell them."""
    if not isinstance(logprobs, Mapping):
        return []
    content = logprobs.get("content")
    if isinstance(content, list):
        return [_chat_token(one) for one in content if isinstance(one, Mapping)]
    names, values, tops = (logprobs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(names, list) or not isinstance(values, list):
        return []
    found = []
    for place, (name, value) in enumerate(zip(names, values, strict=False)):
        top = tops[place] if isinstance(tops, list) and place < len(tops) else None
        ranked = (
            [TokenLogprob(-1, str(text).encode(), _float(one)) for text, one in top.items()] if isinstance(top, Mapping) else []
        )
        piece = str(name).encode("utf-8", "replace")
        found.append(Token(0, -1, piece, str(name), _float(value) if value is not None else None, tuple(ranked)))
    return found


def _chat_token(document: Mapping[str, Any]) -> Token:
    top = document.get("top_logprobs")
    ranked = tuple(_candidate(one) for one in (top if isinstance(top, list) else ()) if isinstance(one, Mapping))
    chosen = _candidate(document)
    return Token(0, chosen.id, chosen.piece, str(document.get("token", "")), chosen.logprob, ranked)


def _candidate(document: Mapping[str, Any]) -> TokenLogprob:
    told = document.get("bytes")
    if isinstance(told, list) and all(isinstance(one, int) and 0 <= one < 256 for one in told):
        piece = bytes(told)
    else:
        piece = str(document.get("token", "")).encode("utf-8", "replace")
    return TokenLogprob(_number(document.get("id")), piece, _float(document.get("logprob")))


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e30 else -9999.0


def _number(value: Any, otherwise: int = -1) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else otherwise
