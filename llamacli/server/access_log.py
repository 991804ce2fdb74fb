"""The line of the log for each request: for people, or as JSON."""

from __future__ import annotations

import json
import time
from typing import Any

from llamacli.server.http.exchange import Record
from llamacli.server.security.clients import ANYBODY


def format_text(record: Record) -> str:
    """Return a line for people."""
    parts = [f"{record.method} {record.path} {record.status or 'no answer'}", f"{1e3 * record.seconds:.0f} ms"]
    if record.prompt_tokens or record.completion_tokens:
        cached = f" ({record.cached_tokens} cached)" if record.cached_tokens else ""
        parts.append(f"{record.prompt_tokens}{cached} + {record.completion_tokens} tokens")
    if record.first_token is not None:
        parts.append(f"first after {1e3 * record.first_token:.0f} ms")
    if record.queued is not None and record.queued >= 0.1:
        parts.append(f"queued {1e3 * record.queued:.0f} ms")
    if record.model:
        parts.append(record.model)
    if record.client not in ("", ANYBODY):
        parts.append(f"key {record.client}")
    lines = [", ".join(parts)]
    lines += [f"prompt: {json.dumps(prompt, ensure_ascii=False)}" for prompt in record.prompts]
    lines += [f"answer: {json.dumps(answer, ensure_ascii=False)}" for answer in record.answers]
    return "\n".join(lines)


def format_json(record: Record) -> str:
    """Return a line of JSON. Times are in milliseconds, but `time` in seconds since 1970."""
    document: dict[str, Any] = {
        "time": round(time.time(), 3),
        "id": record.id,
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "client": record.client,
        "model": record.model,
        "ms": round(1e3 * record.seconds, 3),
        "queued_ms": _milliseconds(record.queued),
        "first_token_ms": _milliseconds(record.first_token),
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "completion_tokens": record.completion_tokens,
    }
    if record.prompts:
        document |= {"prompts": record.prompts, "answers": record.answers}
    return json.dumps(document, ensure_ascii=False)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1e3 * seconds, 3)
