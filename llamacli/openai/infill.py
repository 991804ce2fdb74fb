"""llama-server's own format of completions, in which editors receive what fills a gap."""

from __future__ import annotations

from typing import Any

from llamacli.engine.events import Answer, Piece
from llamacli.openai import response

_STOP_TYPES = {"stop": "eos", "length": "limit", "context": "limit", "cancelled": "none"}


def infill_document(answer: Answer, model: str, *, content: str | None = None) -> dict[str, Any]:
    """Return the document of a whole answer, or the last chunk of one, which has no `content` of its own."""
    stop_type = "word" if answer.stop_text is not None else _STOP_TYPES[answer.finish_reason]
    return {
        "index": answer.index,
        "content": answer.content if content is None else content,
        "model": model,
        "stop": True,
        "stop_type": stop_type,
        "stopping_word": answer.stop_text or "",
        "tokens_predicted": answer.usage.completion_tokens,
        "tokens_evaluated": answer.usage.prompt_tokens,
        "tokens_cached": answer.usage.cached_tokens,
        "truncated": False,
        "timings": response.timings(answer.timings, answer.usage),
    }


def infill_chunk(event: Piece | Answer, model: str) -> dict[str, Any] | None:
    """Return the chunk of an event, None if it has no text."""
    if isinstance(event, Answer):
        return infill_document(event, model, content="")
    content = "".join(delta.content for delta in event.deltas)
    return {"index": event.index, "content": content, "stop": False} if content else None
