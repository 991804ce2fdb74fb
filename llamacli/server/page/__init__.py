"""The page at `/`: one file without foreign requests, in which people talk to the models of the server.

It uses `GET /health`, `/v1/models` and `/props`, and streams of `/v1/chat/completions`. Of the server it needs, beside what
OpenAI documents: `return_progress`; `timings` in the last chunks; and for answers that go on from
another choice of a token `continue_final_message` with `add_generation_prompt: false`, as vLLM has them: the last message is
the start of the answer (its `content` and `reasoning_content`), and only what follows is streamed (`Question.continues_last`).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass

_INLINE = re.compile(r"<(script|style)(?:\s[^>]*)?>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """The page: the bytes of its response, and the headers."""

    body: bytes
    headers: Mapping[str, str]


@functools.cache
def load_page() -> Page:
    """Return the page, with the headers that go with it."""
    text = importlib.resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": content_security_policy(text),
        "cache-control": "no-cache",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return Page(text.encode(), headers)


def content_security_policy(text: str) -> str:
    """Return the policy that allows what a page contains, and nothing else.

    Its scripts and styles are allowed by their hashes, requests to this server only, images only from the page itself. Text can
    become markup nowhere: trusted types are required, and there is none.
    """
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(hashes['script'])}",
            f"style-src {' '.join(hashes['style'])}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
