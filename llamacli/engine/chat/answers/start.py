"""The known start of an answer, which its events leave out."""

from __future__ import annotations

import itertools

from llamacli.engine.chat.message import Message
from llamacli.engine.events import Delta


class StartFilter:
    """Filter that leaves the known start of an answer out of its growing text."""

    def __init__(self, start: Message) -> None:
        self._content = start.text
        self._reasoning = start.reasoning_content or ""

    def delta(self, delta: Delta) -> Delta:
        """Return what of a delta is new."""
        content, self._content = _new(delta.content, self._content)
        reasoning, self._reasoning = _new(delta.reasoning_content, self._reasoning)
        return Delta(content, reasoning, delta.tool_call)


def _new(text: str, known: str) -> tuple[str, str]:
    """Return the part of a text after what it has of the known one, and what is left of that.

    Parsers leave out white space at the edges, so that the known text may have more.
    """
    if not text or not known:
        return text, known
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(text, known, strict=False)))
    if same == 0 and known[0].isspace():
        return _new(text, known.lstrip())
    return text[same:], known[same:] if same == len(text) else ""
