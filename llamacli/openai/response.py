"""Answers as OpenAI's JSON documents: completions, chats, and the chunks of both. Timings have llama-server's names."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llamacli.engine.chat.template import Answer, Delta
from llamacli.engine.events import FinishReason, Timings, Token, TokenLogprob, Usage

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heading:
    """What all documents of one request share. `created` is in seconds since 1970."""

    model: str
    is_chat: bool = True
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def document(self, choices: Sequence[Document], *, chunk: bool = False, **more: Any) -> Document:
        """A document with these choices. `more` are the keys at its end; those that are None are left out."""
        kind = ("chat.completion.chunk" if chunk else "chat.completion") if self.is_chat else "text_completion"
        prefix = "chatcmpl" if self.is_chat else "cmpl"
        return {
            "id": f"{prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": list(choices),
            **{key: value for key, value in more.items() if value is not None},
        }


def finish_reason(reason: FinishReason, answer: Answer | None = None) -> str:
    """OpenAI's word for why an answer ended."""
    if answer is not None and answer.tool_calls and reason == "stop":
        return "tool_calls"
    return "stop" if reason == "stop" else "length"


def usage(used: Usage) -> Document:
    """Counts of tokens."""
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.total_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
    }


def timings(measured: Timings) -> Document:
    """Durations in milliseconds and rates per second."""
    names = ("prompt_n", "prompt_ms", "prompt_per_second", "predicted_n", "predicted_ms", "predicted_per_second")
    return {name: round(getattr(measured, name), 3) for name in names}


def text_choice(index: int, text: str, reason: str | None, logprobs: Document | None = None) -> Document:
    """One choice of a text completion, or of a chunk of one."""
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def chat_choice(index: int, answer: Answer, reason: str, logprobs: Document | None = None) -> Document:
    """One choice of a chat completion."""
    message: Document = {"role": "assistant", "content": answer.content or (None if answer.tool_calls else "")}
    if answer.reasoning_content:
        message["reasoning_content"] = answer.reasoning_content
    if answer.tool_calls:
        message["tool_calls"] = [call.to_json() for call in answer.tool_calls]
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}


def chat_chunk(index: int, delta: Document, reason: str | None = None, logprobs: Document | None = None) -> Document:
    """One choice of a chunk of a chat completion."""
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


def delta_json(delta: Delta) -> Document:
    """What is new in an answer."""
    document: Document = {}
    if delta.content:
        document["content"] = delta.content
    if delta.reasoning_content:
        document["reasoning_content"] = delta.reasoning_content
    call = delta.tool_call
    if call is not None:
        function = {"arguments": call.arguments}
        head: Document = {"index": call.index}
        if call.name:
            head |= {"id": call.id, "type": "function"}
            function = {"name": call.name, **function}
        document["tool_calls"] = [{**head, "function": function}]
    return document


def chat_logprobs(tokens: Sequence[Token]) -> Document:
    """Log probabilities as chat completions have them; tokens that were forced have none."""
    content = [
        {
            **_token_json(TokenLogprob(token.id, token.piece, token.logprob)),
            "top_logprobs": [_token_json(candidate) for candidate in token.top],
        }
        for token in tokens
        if token.logprob is not None
    ]
    return {"content": content}


def _token_json(candidate: TokenLogprob) -> Document:
    text = candidate.piece.decode("utf-8", "replace")
    return {"token": text, "id": candidate.id, "logprob": candidate.logprob, "bytes": list(candidate.piece)}


def text_logprobs(tokens: Sequence[Token], offset: int = 0) -> Document:
    """Log probabilities as text completions have them; `offset` is where the first token's text begins, in characters."""
    offsets, at = [], offset
    for token in tokens:
        offsets.append(at)
        at += len(token.text)
    return {
        "tokens": [token.piece.decode("utf-8", "replace") for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {candidate.piece.decode("utf-8", "replace"): candidate.logprob for candidate in token.top} for token in tokens
        ],
        "text_offset": offsets,
    }
