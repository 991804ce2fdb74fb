"""Parts of OpenAI's JSON documents: headings, choices of completions, chats and chunks, usage; timings as llama-server has."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llamacli.engine.events import Answer, Delta, Timings, Token, TokenLogprob, Usage

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heading:
    """The common keys of the documents of one request. `created` is in seconds since 1970."""

    model: str
    is_chat: bool = True
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def document(self, choices: Sequence[Document], *, chunk: bool = False, **more: Any) -> Document:
        """Return a document with these choices. `more` are further keys; those that are None are left out."""
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


def finish_reason(answer: Answer) -> str:
    """Return OpenAI's word for the end of an answer: a truncated tool call is `length`."""
    if answer.finish_reason == "stop":
        return "tool_calls" if answer.tool_calls else "stop"
    return "length"


def usage(used: Usage) -> Document:
    """Return token counts."""
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.total_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
    }


def timings(measured: Timings, used: Usage) -> Document:
    """Return durations in milliseconds and rates per second; the cached tokens, and the drafted ones, if there are any."""
    document: Document = {
        "cache_n": used.cached_tokens,
        "prompt_n": measured.prompt_n,
        "prompt_ms": round(measured.prompt_ms, 3),
        "prompt_per_second": round(measured.prompt_per_second, 3),
        "predicted_n": measured.predicted_n,
        "predicted_ms": round(measured.predicted_ms, 3),
        "predicted_per_second": round(measured.predicted_per_second, 3),
    }
    if measured.draft_n:
        document |= {"draft_n": measured.draft_n, "draft_n_accepted": measured.draft_n_accepted}
    return document


def text_choice(index: int, text: str, reason: str | None, logprobs: Document | None = None) -> Document:
    """Return one choice of a text completion, or of a chunk of one."""
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def chat_choice(answer: Answer, reason: str, logprobs: Document | None = None) -> Document:
    """Return one choice of a chat completion."""
    message: Document = {"role": "assistant", "content": answer.content or (None if answer.tool_calls else "")}
    if answer.reasoning_content:
        message["reasoning_content"] = answer.reasoning_content
    if answer.tool_calls:
        message["tool_calls"] = [call.to_json() for call in answer.tool_calls]
    return {"index": answer.index, "message": message, "logprobs": logprobs, "finish_reason": reason}


def chat_chunk(index: int, delta: Document, reason: str | None = None, logprobs: Document | None = None) -> Document:
    """Return one choice of a chunk of a chat completion."""
    choice: Document = {"index": index, "delta": delta, "finish_reason": reason}
    return choice if logprobs is None else {**choice, "logprobs": logprobs}


def delta_json(delta: Delta) -> Document:
    """Return the delta of a chunk."""
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
    """Return log probabilities as chat completions have them; forced tokens have none."""
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
    """Return log probabilities as text completions have them; the first token is at `offset` characters of the text.

    The most probable tokens at a position include the one that was chosen.
    """
    offsets, at = [], offset
    for token in tokens:
        offsets.append(at)
        at += len(token.text)
    return {
        "tokens": [token.piece.decode("utf-8", "replace") for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [_most_probable(token) for token in tokens],
        "text_offset": offsets,
    }


def _most_probable(token: Token) -> Document | None:
    if token.logprob is None:
        return None
    found = {candidate.piece.decode("utf-8", "replace"): candidate.logprob for candidate in token.top}
    return {**found, token.piece.decode("utf-8", "replace"): token.logprob}
