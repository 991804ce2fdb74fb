"""Events of an answer as the engine emits them, made by hand."""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.engine.chat.message import ToolCall
from llamacli.engine.events import (
    Answer,
    AnswerEvent,
    Delta,
    FinishReason,
    Piece,
    Prefill,
    Timings,
    Token,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)

TIMINGS = Timings(4, 10.0, 3, 30.0)


def token(number: int, text: str) -> Token:
    """A token with its log probability and one other choice."""
    piece = text.encode()
    return Token(0, number, piece, text, -0.5, (TokenLogprob(number, piece, -0.5), TokenLogprob(99, b"\xff", -1.5)))


def answer_events(
    *parts: str | tuple[str, str] | ToolCall, reason: FinishReason = "stop", stop_text: str | None = None, cached: int = 2
) -> Iterator[AnswerEvent]:
    """Yield the events of an answer: strings are content, pairs ("reasoning", text) reasoning, and calls are calls of tools.

    Each part is one token; the arguments of a call come in two.
    """
    yield Prefill(0, 4, 4)
    texts, thoughts, calls, tokens = [], [], [], []
    for number, part in enumerate(parts):
        if isinstance(part, ToolCall):
            index = len(calls)
            calls.append(part)
            half = len(part.arguments) // 2
            tokens += [token(2 * number, "<call>"), token(2 * number + 1, "</call>")]
            begin = ToolCallDelta(index, part.id or "", part.name, part.arguments[:half])
            yield Piece(0, (Delta(tool_call=begin),), tokens[-2])
            yield Piece(0, (Delta(tool_call=ToolCallDelta(index, "", "", part.arguments[half:])),), tokens[-1])
        elif isinstance(part, tuple):
            thoughts.append(part[1])
            tokens.append(token(number, part[1]))
            yield Piece(0, (Delta(reasoning_content=part[1]),), tokens[-1])
        else:
            texts.append(part)
            tokens.append(token(number, part))
            yield Piece(0, (Delta(part),) if part else (), tokens[-1])
    yield Answer(
        content="".join(texts),
        reasoning_content="".join(thoughts),
        tool_calls=tuple(calls),
        tokens=tuple(tokens),
        finish_reason=reason,
        usage=Usage(4, len(tokens), cached),
        timings=TIMINGS,
        stop_text=stop_text,
    )
