"""Content blocks of a message while they grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llamacli.engine.events import ToolCallDelta
from llamacli.errors import InvalidJSONError
from llamacli.json_text import parse_json
from llamacli.openai.seal import seal

Document = dict[str, Any]

_SIGNATURE = "llamacli"
"""The signature of thinking that the client sees, which hands back the thinking itself."""


class Block:
    """A block of a message: `head` is the document it starts with. `growing` is the text that was added, sent or not."""

    def __init__(self, head: Document) -> None:
        self.head = head
        self.growing = ""
        self._sent: int | None = None  # characters, None before the start

    @property
    def kind(self) -> str:
        """Its type."""
        found: str = self.head["type"]
        return found

    def document(self) -> Document:
        """Return the block as it is now."""
        return {**self.head, "text": self.growing}

    def send(self, index: int) -> list[Document]:
        """Return the events of what was not sent yet. `index` is its place in the message."""
        events: list[Document] = []
        if self._sent is None:
            self._sent = 0
            events.append({"type": "content_block_start", "index": index, "content_block": dict(self.head)})
        new, self._sent = self.growing[self._sent :], len(self.growing)
        delta = self.delta(new) if new else None
        return events if delta is None else [*events, _delta(index, delta)]

    def end(self, index: int) -> list[Document]:
        """Return the events of what was not sent yet, and of its end."""
        return [*self.send(index), {"type": "content_block_stop", "index": index}]

    def delta(self, text: str) -> Document | None:
        """Return the change that new text is, None for one that the client does not see."""
        return {"type": "text_delta", "text": text}


def text_block() -> Block:
    """Return an empty block of text."""
    return Block({"type": "text", "text": "", "citations": None})


class ThinkingBlock(Block):
    """A block of thinking. The client gets a hidden one as opaque text."""

    def __init__(self, *, is_hidden: bool) -> None:
        super().__init__({"type": "thinking", "thinking": "", "signature": ""})
        self._is_hidden = is_hidden

    def document(self) -> Document:
        """Return the block as it is now."""
        return {**self.head, "thinking": "" if self._is_hidden else self.growing, "signature": self._signature()}

    def end(self, index: int) -> list[Document]:
        """Return the events of what was not sent yet, of its signature and of its end."""
        signed = _delta(index, {"type": "signature_delta", "signature": self._signature()})
        return [*self.send(index), signed, {"type": "content_block_stop", "index": index}]

    def delta(self, text: str) -> Document | None:
        """Return the change that new text is."""
        return None if self._is_hidden else {"type": "thinking_delta", "thinking": text}

    def _signature(self) -> str:
        return seal(self.growing) if self._is_hidden else _SIGNATURE


class ToolUseBlock(Block):
    """A use of a tool, which grows by the JSON text of its input."""

    def __init__(self, call: ToolCallDelta) -> None:
        super().__init__({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})

    @property
    def input(self) -> Document | None:
        """The input, None while it is not whole."""
        try:
            found = parse_json(self.growing)
        except InvalidJSONError:
            return None
        return dict(found) if isinstance(found, Mapping) else None

    def document(self) -> Document:
        """Return the block as it is now."""
        return {**self.head, "input": self.input or {}}

    def delta(self, text: str) -> Document | None:
        """Return the change that new text is."""
        return {"type": "input_json_delta", "partial_json": text}


def _delta(index: int, delta: Document) -> Document:
    return {"type": "content_block_delta", "index": index, "delta": delta}
