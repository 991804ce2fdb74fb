"""Answers as OpenAI's documents: `chat.completion`, `text_completion` and their chunks, with llama-server's timings."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llamacli.engine.chat.template import Answer, Delta
from llamacli.engine.events import Finished, Timings, Token, Usage
from llamacli.openai import response as documents


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer with how it ended; `tokens` are kept when log probabilities were asked for."""

    answer: Answer
    finished: Finished
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Makes the documents of one request. `prompt` is its text if it is to be echoed, `logprobs` whether they are shown."""

    model: str
    is_chat: bool
    hides_reasoning: bool = False
    logprobs: bool = False
    prompt: str | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The whole answer, or all of them."""
        choices = [self._choice(i, sample) for i, sample in enumerate(samples)]
        finished = [sample.finished for sample in samples]
        return {**self._head("chat.completion"), "choices": choices, **_totals(finished)}

    def first_chunks(self, samples: int) -> list[dict[str, Any]]:
        """What comes before any delta: in a chat the role, in a text the prompt that is echoed."""
        if self.is_chat:
            deltas = [(i, {"role": "assistant", "content": ""}) for i in range(samples)]
            chunks = [self._chunk({"index": i, "delta": delta, "finish_reason": None}) for i, delta in deltas]
            return [{**chunk, "prompt": self.prompt} for chunk in chunks] if self.prompt is not None else chunks
        return [self.text_chunk(i, self.prompt) for i in range(samples)] if self.prompt is not None else []

    def delta_chunk(self, index: int, delta: Delta, tokens: Sequence[Token], offset: int = 0) -> dict[str, Any] | None:
        """What is new in answer number `index`, after `offset` characters of text; None if nothing of it is shown."""
        if not self.is_chat:
            return self.text_chunk(index, delta.content, tokens, offset)
        change = documents.delta_json(dataclasses.replace(delta, reasoning_content="") if self.hides_reasoning else delta)
        choice = {"index": index, "delta": change, "finish_reason": None}
        if self.logprobs and tokens:
            choice["logprobs"] = documents.chat_logprobs(tokens)
        return self._chunk(choice) if change or (self.logprobs and tokens) else None

    def text_chunk(self, index: int, text: str, tokens: Sequence[Token] = (), offset: int = 0) -> dict[str, Any]:
        """A piece of a text that is continued, after `offset` characters."""
        logprobs = documents.text_logprobs(tokens, offset) if self.logprobs and tokens else None
        return self._chunk({"index": index, "text": text, "logprobs": logprobs, "finish_reason": None})

    def last_chunk(self, index: int, answer: Answer, finished: Finished) -> dict[str, Any]:
        """The end of answer number `index`, with its usage and timings."""
        empty: dict[str, Any] = {"delta": {}} if self.is_chat else {"text": "", "logprobs": None}
        chunk = self._chunk({"index": index, **empty, "finish_reason": documents.finish_reason(finished.reason, answer)})
        return {**chunk, **_totals([finished])}

    def _choice(self, index: int, sample: Sample) -> dict[str, Any]:
        reason = documents.finish_reason(sample.finished.reason, sample.answer)
        if not self.is_chat:
            logprobs = documents.text_logprobs(sample.tokens, len(self.prompt or "")) if self.logprobs else None
            text = (self.prompt or "") + sample.answer.content
            return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        logprobs = documents.chat_logprobs(sample.tokens) if self.logprobs else None
        return {"index": index, "message": self._message(sample.answer), "logprobs": logprobs, "finish_reason": reason}

    def _message(self, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.content}
        if answer.reasoning_content and not self.hides_reasoning:
            message["reasoning_content"] = answer.reasoning_content
        if answer.tool_calls:
            message["content"] = answer.content or None
            message["tool_calls"] = tool_calls(answer)
        return message

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk", echoes=False), "choices": [choice]}

    def _head(self, kind: str, *, echoes: bool = True) -> dict[str, Any]:
        prefix, kind = ("chatcmpl", kind) if self.is_chat else ("cmpl", "text_completion")
        head = {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.model}
        return {**head, "prompt": self.prompt} if echoes and self.is_chat and self.prompt is not None else head


def tool_calls(answer: Answer) -> list[dict[str, Any]]:
    """The calls of an answer as OpenAI has them."""
    return [call.to_json() for call in answer.tool_calls]


def _totals(finished: Sequence[Finished]) -> dict[str, Any]:
    """Usage and timings of answers that shared one prompt: it counts once."""
    first = finished[0]
    usage = Usage(first.usage.prompt_tokens, sum(each.usage.completion_tokens for each in finished), first.usage.cached_tokens)
    timings = Timings(
        first.timings.prompt_n,
        first.timings.prompt_ms,
        sum(each.timings.predicted_n for each in finished),
        max(each.timings.predicted_ms for each in finished),
    )
    return {"usage": documents.usage(usage), "timings": documents.timings(timings)}
