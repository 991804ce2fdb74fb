"""Input items of a request: messages, reasoning, calls of tools and their results."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.engine.media.media import Media
from llamacli.errors import UsageError
from llamacli.openai.fields import Fields
from llamacli.openai.media import read_input_audio, read_input_image
from llamacli.openai.responses.tools import custom_arguments, seen_name
from llamacli.openai.seal import unseal

Document = dict[str, Any]

_ROLES = ("user", "assistant", "system", "developer")
_TEXT_PARTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")


def read_input(given: Any, earlier: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[Document, ...]]:
    """Return the conversation of `input` after `earlier` messages, and its items as `/input_items` lists them.

    Raises:
        UsageError: if an item is invalid or not supported; `parameter` says which.
    """
    if given is None:
        raise UsageError("input is missing", parameter="input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise UsageError("input must be a string or a list of items", parameter="input")
    reader = _Reader(earlier)
    for place, item in enumerate(given):
        reader.add(Fields(item, within=f"input[{place}]"))
    return reader.conversation(), tuple(_listed(item) for item in given)


class _Reader:
    """Builder of a conversation from items. An answer's reasoning, text and calls are items, but one message."""

    def __init__(self, earlier: Sequence[Message]) -> None:
        self._messages = list(earlier)
        self._answer: Message | None = None  # of which more items may come
        self._calls = {call.id: call.name for message in earlier for call in message.tool_calls}

    def add(self, fields: Fields) -> None:
        """Add an item."""
        kind = fields.text("type") or "message"
        read = _READERS.get(kind)
        if read is None:
            raise fields.fault("type", f"{kind!r} is not supported")
        fields.text("id")
        fields.text("status")
        fields.only("caller", {"type": "direct"}, why="only the model calls tools")
        read(self, fields)
        fields.finish()

    def conversation(self) -> tuple[Message, ...]:
        """Return the whole conversation."""
        self._end_answer()
        return tuple(self._messages)

    def message(self, fields: Fields) -> None:
        """Add a message."""
        role = fields.choice("role", _ROLES)
        if role is None:
            raise fields.fault("role", "is missing")
        fields.choice("phase", ("commentary", "final_answer"))
        content = _content(fields, "content")
        if role == "assistant":
            if self._answer is not None and (self._answer.content is not None or self._answer.tool_calls):
                self._end_answer()
            self._extend(content=content)
        else:
            self._end_answer()
            self._messages.append(Message("system" if role == "developer" else role, content))

    def reasoning(self, fields: Fields) -> None:
        """Add the reasoning of the answer that follows."""
        self._end_answer()
        content, summary = ("\n".join(_texts(fields, name)) if name in fields else "" for name in ("content", "summary"))
        opaque = fields.text("encrypted_content")
        text = content or (unseal(opaque) if opaque else summary)
        if text is None:
            raise fields.fault("encrypted_content", "was not made by this server")
        self._extend(reasoning_content=text or None)

    def call(self, fields: Fields) -> None:
        """Add a call of a function."""
        self._add_call(fields, fields.required_text("arguments"))

    def custom_call(self, fields: Fields) -> None:
        """Add a call of a custom tool."""
        self._add_call(fields, custom_arguments(fields.required_text("input")))

    def result(self, fields: Fields) -> None:
        """Add the result of a call."""
        self._end_answer()
        identity = fields.required_text("call_id")
        if identity not in self._calls:
            raise fields.fault("call_id", f"{identity!r} is not the id of an earlier call")
        fields.text("name")
        fields.text("namespace")
        output = _content(fields, "output")
        self._messages.append(Message("tool", output, tool_call_id=identity, name=self._calls[identity]))

    def _add_call(self, fields: Fields, arguments: str) -> None:
        name = seen_name(fields.required_text("name"), fields.text("namespace"))
        fields.only("async", False, why="calls are answered with the next request")
        identity = fields.required_text("call_id")
        self._calls[identity] = name
        known = self._answer.tool_calls if self._answer is not None else ()
        self._extend(tool_calls=(*known, ToolCall(name, arguments, id=identity)))

    def _extend(self, **changes: Any) -> None:
        self._answer = dataclasses.replace(self._answer or Message("assistant"), **changes)

    def _end_answer(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:  # reasoning alone is of an answer that was cut
            has_more = answer.content is not None or answer.tool_calls
            self._messages.append(answer if has_more else dataclasses.replace(answer, content=""))


_READERS: dict[str, Callable[[_Reader, Fields], None]] = {
    "message": _Reader.message,
    "reasoning": _Reader.reasoning,
    "function_call": _Reader.call,
    "custom_tool_call": _Reader.custom_call,
    "function_call_output": _Reader.result,
    "custom_tool_call_output": _Reader.result,
}


def _content(fields: Fields, name: str) -> str | tuple[str | Media, ...]:
    """Return the content of an item, one value for each part if it has several."""
    value = fields.value(name)
    if isinstance(value, str):
        return value
    parts = _parts(fields, name)
    return parts[0] if len(parts) == 1 and isinstance(parts[0], str) else parts


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    parts = _parts(fields, name)
    if not all(isinstance(part, str) for part in parts):
        raise fields.fault(name, "must be text")
    return tuple(part for part in parts if isinstance(part, str))


def _parts(fields: Fields, name: str) -> tuple[str | Media, ...]:
    parts = fields.value(name)
    if parts is None:
        raise fields.fault(name, "is missing")
    if not isinstance(parts, list):
        raise fields.fault(name, "must be a string or a list of parts")
    return tuple(_part(Fields(part, within=f"{fields.name(name)}[{place}]")) for place, part in enumerate(parts))


def _part(fields: Fields) -> str | Media:
    kind = fields.required_text("type")
    part: str | Media
    if kind in _TEXT_PARTS:
        part = fields.required_text("text")
        fields.value("annotations")
        fields.value("logprobs")
        fields.value("prompt_cache_breakpoint")
    elif kind == "input_image":
        part = read_input_image(fields)
    elif kind == "input_audio":
        part = read_input_audio(fields)
    elif kind == "refusal":
        part = fields.required_text("refusal")
    else:
        raise fields.fault("type", f"{kind!r} is not supported")
    fields.finish()
    return part


def _listed(item: Document) -> Document:
    """Return an item with all that a listed one has: its type, its id, and content as parts."""
    kind = item.get("type") or "message"
    listed = {"type": kind, "id": f"{'msg' if kind == 'message' else 'item'}_{secrets.token_hex(12)}"}
    listed |= {name: value for name, value in item.items() if value is not None}
    if kind == "message":
        text = "output_text" if item.get("role") == "assistant" else "input_text"
        content = item.get("content")
        if isinstance(content, str):
            part: Document = {"type": text, "text": content}
            listed["content"] = [part | ({"annotations": []} if text == "output_text" else {})]
        listed.setdefault("status", "completed")
    return listed
