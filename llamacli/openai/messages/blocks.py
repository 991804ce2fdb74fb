"""Content blocks of a request: text, images, thinking, uses of tools and their results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.engine.media.media import Media
from llamacli.errors import UsageError
from llamacli.openai.fields import Fields
from llamacli.openai.media import read_image_block
from llamacli.openai.seal import unseal

_BILLING = "x-anthropic-billing-header:"
"""The start of a block that a coding agent writes for Anthropic, not for the model. It differs in every request, so that no
prompt would have a cached beginning with it."""


def read_conversation(given: Any) -> tuple[Message, ...]:
    """Return the conversation in `messages`. Messages of one role that follow each other are one.

    Raises:
        UsageError: if a message or a block is invalid or not supported; `parameter` says which.
    """
    if not isinstance(given, list) or not given:
        raise UsageError("messages must be a list of at least one message", parameter="messages")
    calls: dict[str, str] = {}
    messages: list[Message] = []
    for place, item in enumerate(given):
        for message in _read_message(Fields(item, within=f"messages[{place}]"), calls):
            if messages and messages[-1].role == message.role != "tool":
                messages[-1] = _joined(messages[-1], message)
            else:
                messages.append(message)
    return tuple(messages)


def read_system(fields: Fields) -> str | None:
    """Return the text of `system`, without what is not for the model."""
    given = fields.value("system")
    if given is None or isinstance(given, str):
        return given or None
    texts = [block.required_text("text") for block in _blocks(fields, "system", ("text",))]
    return "\n\n".join(text for text in texts if not text.startswith(_BILLING)) or None


def _read_message(fields: Fields, calls: dict[str, str]) -> Iterator[Message]:
    role = fields.choice("role", ("user", "assistant", "system"))
    given = fields.value("content")
    if role is None or given is None:
        raise fields.fault("role" if role is None else "content", "is missing")
    fields.finish()
    if isinstance(given, str):
        yield Message(role, given)
    elif role == "assistant":
        yield _answer(fields, calls)
    else:
        kinds = ("text", "image", "tool_result") if role == "user" else ("text",)
        blocks = list(_blocks(fields, "content", kinds))
        yield from (_result(block, calls) for block in blocks if block.value("type") == "tool_result")
        parts = tuple(_part(block) for block in blocks if block.value("type") != "tool_result")
        if parts or not blocks:
            yield Message(role, _content(parts))


def _answer(fields: Fields, calls: dict[str, str]) -> Message:
    texts, thoughts, uses = [], [], []
    for block in _blocks(fields, "content", ("text", "thinking", "tool_use")):
        kind = block.value("type")
        if kind == "text":
            texts.append(block.required_text("text"))
        elif kind == "thinking":
            shown, opaque = block.required_text("thinking"), block.text("signature")
            thoughts.append(shown or unseal(opaque or "") or "")
        else:
            uses.append(_use(block))
            calls[uses[-1].id or ""] = uses[-1].name
    content = None if uses and not texts else _content(tuple(texts))
    return Message("assistant", content, tuple(uses), reasoning_content="\n".join(thoughts) or None)


def _use(block: Fields) -> ToolCall:
    given = block.value("input")
    if not isinstance(given, Mapping):
        raise block.fault("input", "must be an object")
    return ToolCall(block.required_text("name"), json.dumps(given, ensure_ascii=False), id=block.required_text("id"))


def _result(block: Fields, calls: Mapping[str, str]) -> Message:
    identity = block.required_text("tool_use_id")
    if identity not in calls:
        raise block.fault("tool_use_id", f"{identity!r} is not the id of an earlier tool_use block")
    given = block.value("content")
    if given is None or isinstance(given, str):
        parts: tuple[str | Media, ...] = (given or "",)
    else:
        parts = tuple(_part(part) for part in _blocks(block, "content", ("text", "image")))
    media = tuple(part for part in parts if isinstance(part, Media))
    text = "\n".join(part for part in parts if isinstance(part, str))
    if block.flag("is_error") and not text.lower().startswith("error"):
        text = f"Error: {text}"
    return Message("tool", (text, *media) if media else text, tool_call_id=identity, name=calls[identity])


def _part(block: Fields) -> str | Media:
    return read_image_block(block) if block.value("type") == "image" else block.required_text("text")


_FIELDS = {
    "text": ("text", "citations"),
    "image": ("source",),
    "thinking": ("thinking", "signature"),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id", "content", "is_error"),
}
"""The fields of each type of block, beside `type` and `cache_control`."""


def _blocks(fields: Fields, name: str, kinds: tuple[str, ...]) -> Iterator[Fields]:
    """Yield the blocks of a list, which must have one of these types."""
    given = fields.value(name)
    if not isinstance(given, list):
        raise fields.fault(name, "must be a string or a list of blocks")
    for place, item in enumerate(given):
        block = Fields(item, within=f"{fields.name(name)}[{place}]")
        kind = block.required_text("type")
        if kind not in kinds:
            raise block.fault("type", f"{kind!r} is not supported here; supported are {', '.join(kinds)}")
        block.value("cache_control")  # every prompt is cached
        block.only("caller", {"type": "direct"}, why="only the model uses tools")
        for known in _FIELDS[kind]:
            block.value(known)
        block.finish()
        yield block


def _content(parts: tuple[str | Media, ...]) -> str | tuple[str | Media, ...]:
    return parts[0] if len(parts) == 1 and isinstance(parts[0], str) else parts or ""


def _joined(first: Message, second: Message) -> Message:
    """Return two messages of one role as one."""
    if second.content is None or first.content is None:
        content = first.content if second.content is None else second.content
    else:
        parts = [(text,) if isinstance(text, str) else text for text in (first.content, second.content)]
        content = (*parts[0], *parts[1])
    thoughts = [text for text in (first.reasoning_content, second.reasoning_content) if text]
    return dataclasses.replace(
        first,
        content=content,
        tool_calls=(*first.tool_calls, *second.tool_calls),
        reasoning_content="\n".join(thoughts) or None,
    )
