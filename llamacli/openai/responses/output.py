"""Output items of a response while they grow: reasoning, the message, calls of tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from llamacli.engine.events import Token
from llamacli.openai import response
from llamacli.openai.responses.tools import Origin
from llamacli.openai.seal import seal

Document = dict[str, Any]


class OutputItem(Protocol):
    """An item that grows. The events that it returns lack their place in the response."""

    id: str
    status: str

    def document(self) -> Document:
        """Return the item as it is now."""

    def opening(self) -> list[Document]:
        """Return the events behind `response.output_item.added`."""

    def add(self, text: str, tokens: Sequence[Token] = ()) -> list[Document]:
        """Add text, and the tokens that it came with. Return the events."""

    def closing(self) -> list[Document]:
        """Return the events before `response.output_item.done`."""


class MessageItem:
    """The text of the answer, with log probabilities if they are wanted."""

    def __init__(self, identity: str, *, with_logprobs: bool) -> None:
        self.id, self.status = identity, "in_progress"
        self._with_logprobs = with_logprobs
        self._texts: list[str] = []
        self._logprobs: list[Document] = []
        self._is_open = False

    def document(self) -> Document:
        """Return the item as it is now."""
        content = [self._part()] if self._is_open else []
        return {"type": "message", "id": self.id, "status": self.status, "role": "assistant", "content": content}

    def opening(self) -> list[Document]:
        """Return the event of its one part."""
        self._is_open = True
        return [{"type": "response.content_part.added", "content_index": 0, "part": self._part()}]

    def add(self, text: str, tokens: Sequence[Token] = ()) -> list[Document]:
        """Add text and its tokens."""
        logprobs = response.chat_logprobs(tokens)["content"] if self._with_logprobs else []
        self._texts.append(text)
        self._logprobs += logprobs
        if not text and not logprobs:
            return []
        return [{"type": "response.output_text.delta", "content_index": 0, "delta": text, "logprobs": logprobs}]

    def closing(self) -> list[Document]:
        """Return the events of the whole text."""
        part = self._part()
        done = {"type": "response.output_text.done", "content_index": 0, "text": part["text"], "logprobs": part["logprobs"]}
        return [done, {"type": "response.content_part.done", "content_index": 0, "part": part}]

    def _part(self) -> Document:
        return {"type": "output_text", "text": "".join(self._texts), "annotations": [], "logprobs": list(self._logprobs)}


class ReasoningItem:
    """The reasoning before the answer. `is_sealed`: clients may hand it back as opaque text."""

    def __init__(self, identity: str, *, is_sealed: bool) -> None:
        self.id, self.status = identity, "in_progress"
        self._is_sealed = is_sealed
        self._texts: list[str] = []
        self._is_open = False

    def document(self) -> Document:
        """Return the item as it is now."""
        content = [self._part()] if self._is_open else []
        opaque = {"encrypted_content": seal("".join(self._texts))} if self._is_sealed else {}
        return {"type": "reasoning", "id": self.id, "status": self.status, "summary": [], "content": content, **opaque}

    def opening(self) -> list[Document]:
        """Return the event of its one part."""
        self._is_open = True
        return [{"type": "response.content_part.added", "content_index": 0, "part": self._part()}]

    def add(self, text: str, tokens: Sequence[Token] = ()) -> list[Document]:
        """Add text."""
        self._texts.append(text)
        return [{"type": "response.reasoning_text.delta", "content_index": 0, "delta": text}]

    def closing(self) -> list[Document]:
        """Return the events of the whole text."""
        part = self._part()
        done = {"type": "response.reasoning_text.done", "content_index": 0, "text": part["text"]}
        return [done, {"type": "response.content_part.done", "content_index": 0, "part": part}]

    def _part(self) -> Document:
        return {"type": "reasoning_text", "text": "".join(self._texts)}


class CallItem:
    """A call of a tool. The input of a custom tool is known when its JSON is whole."""

    def __init__(self, identity: str, *, call_id: str, origin: Origin) -> None:
        self.id, self.status = identity, "in_progress"
        self._call_id = call_id
        self._origin = origin
        self._texts: list[str] = []

    def document(self) -> Document:
        """Return the item as it is now."""
        status = {} if self._origin.is_custom else {"status": self.status}
        return {"id": self.id, "call_id": self._call_id, **status, **self._origin.call("".join(self._texts))}

    def opening(self) -> list[Document]:
        """Return no event."""
        return []

    def add(self, text: str, tokens: Sequence[Token] = ()) -> list[Document]:
        """Add text of the arguments."""
        self._texts.append(text)
        return [] if self._origin.is_custom else [{"type": "response.function_call_arguments.delta", "delta": text}]

    def closing(self) -> list[Document]:
        """Return the events of the whole arguments or input."""
        more = [] if "".join(self._texts) else self.add("{}")
        item = self.document()
        if not self._origin.is_custom:
            done = {"type": "response.function_call_arguments.done", "arguments": item["arguments"]}
            return [*more, done]
        return [
            {"type": "response.custom_tool_call_input.delta", "delta": item["input"]},
            {"type": "response.custom_tool_call_input.done", "input": item["input"]},
        ]
