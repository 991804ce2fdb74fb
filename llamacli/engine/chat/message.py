"""The messages and tools of a conversation in OpenAI's format, validated when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llamacli.engine.media.media import Media
from llamacli.errors import UsageError
from llamacli.json_text import parse_json
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's call of a tool. `arguments` is JSON text; `id` links it to the tool's result."""

    name: str
    arguments: str
    id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it in OpenAI's format."""
        function = {"name": self.name, "arguments": self.arguments or "{}"}
        call: dict[str, Any] = {"type": "function", "function": function}
        return call if self.id is None else {"id": self.id, **call}


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `content` is its text, a tuple for content of several parts, or None beside tool calls.

    A part is a text, a picture or a sound.

    `tool_call_id` and `name` belong to the result of a tool.
    """

    role: str
    content: str | tuple[str | Media, ...] | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning_content: str | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """The content as one string, its texts joined by newlines."""
        if self.content is None:
            return ""
        return self.content if isinstance(self.content, str) else "\n".join(self.texts)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of content of several parts."""
        return tuple(part for part in self.content if isinstance(part, str)) if isinstance(self.content, tuple) else ()

    @property
    def media(self) -> tuple[Media, ...]:
        """The pictures and sounds of the content, in their order."""
        return tuple(part for part in self.content if isinstance(part, Media)) if isinstance(self.content, tuple) else ()

    def to_json(self, media_part: Callable[[Media], dict[str, Any]] = Media.to_json) -> dict[str, Any]:
        """Return it in OpenAI's format. `media_part` returns the part of the content for a picture or sound."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if isinstance(self.content, tuple):
            message["content"] = [
                {"type": "text", "text": part} if isinstance(part, str) else media_part(part) for part in self.content
            ]
        if self.tool_calls:
            message["tool_calls"] = [call.to_json() for call in self.tool_calls]
        for key in ("reasoning_content", "tool_call_id", "name"):
            value = getattr(self, key)
            if value is not None:
                message[key] = value
        return message


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters` is a JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it in OpenAI's format."""
        parameters = self.parameters or {"type": "object", "properties": {}}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": dict(parameters)},
        }


def read_messages(document: Any) -> tuple[Message, ...]:
    """Read the messages of a conversation in OpenAI's format (a list of objects).

    Raises:
        UsageError: if the document is something else; the message numbers the faulty one, from 1.
    """
    if not isinstance(document, list) or not document:
        raise UsageError("the messages must be a list of at least one object")
    return tuple(_read_message(item, f"message {i}") for i, item in enumerate(document, start=1))


def check_calls(messages: Sequence[Message]) -> None:
    """Check that the arguments of all tool calls are JSON objects, which most chat templates require.

    Reading a conversation does not check this, because a model's own call may be malformed, and some templates accept that.

    Raises:
        UsageError: if the arguments of a call are something else; the message numbers the faulty one, from 1.
    """
    for i, message in enumerate(messages, start=1):
        for j, call in enumerate(message.tool_calls, start=1):
            subject = f"message {i}, tool call {j}: the arguments"
            if not isinstance(parse_json(call.arguments or "{}", source=subject), dict):
                raise UsageError(f"{subject} are not a JSON object")


def read_tools(document: Any) -> tuple[Tool, ...]:
    """Read the tools of a request in OpenAI's format (a list of objects with type "function").

    Raises:
        UsageError: if the document is something else; the message numbers the faulty tool, from 1.
    """
    if not isinstance(document, list):
        raise UsageError("the tools must be a list of objects")
    tools = tuple(_read_tool(item, f"tool {i}") for i, item in enumerate(document, start=1))
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise UsageError("two tools have the same name")
    return tools


def choose_tools(tools: tuple[Tool, ...], choice: Any) -> tuple[tuple[Tool, ...], str]:
    """Return the tools that OpenAI's `tool_choice` admits, and the choice among them: auto, none or required.

    Raises:
        UsageError: if it names an unknown tool, or is no valid choice.
    """
    if choice is None or choice in ("auto", "none", "required"):
        return tools, choice or "auto"
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else choice
    named = tuple(tool for tool in tools if tool.name == name)
    if not named:
        known = ", ".join(tool.name for tool in tools)
        problem = f"unknown tool {name!r}" if isinstance(name, str) else "tool_choice does not name a tool"
        raise UsageError(problem, hint=f"the tools are {known}" if known else None, parameter="tool_choice")
    return named, "required"


def read_response_format(document: Any) -> Any:
    """Return the JSON schema of OpenAI's `response_format`, or None for text.

    Raises:
        UsageError: if it is not an object, has an unknown type, or lacks the schema.
    """
    if document is None:
        return None
    if not isinstance(document, Mapping):
        raise UsageError("response_format must be an object")
    kind = document.get("type", "text")
    if kind == "text":
        return None
    if kind not in ("json_object", "json_schema"):
        raise UsageError(f"response_format has the unknown type {kind!r}; known are text, json_object and json_schema")
    inner = document.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, Mapping) else document.get("schema")
    if schema is None and kind == "json_schema":
        raise UsageError("response_format of type json_schema has no schema")
    return {"type": "object"} if schema is None else schema


def _read_message(item: Any, subject: str) -> Message:
    message = _object(item, subject)
    role = _text(message, "role", subject)
    if not role:
        raise UsageError(f"{subject} has no role")
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise UsageError(f"{subject}: tool_calls must be a list")
    tool_calls = tuple(_read_call(call, f"{subject}, tool call {i}") for i, call in enumerate(calls or (), start=1))
    content = _read_content(message.get("content"), subject)
    reasoning = _text(message, "reasoning_content", subject)
    if content is None and not tool_calls and reasoning is None:
        raise UsageError(f"{subject} has neither content nor tool calls")
    return Message(
        role, content, tool_calls, reasoning, _text(message, "tool_call_id", subject), _text(message, "name", subject)
    )


def _read_content(content: Any, subject: str) -> str | tuple[str | Media, ...] | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UsageError(f"{subject}: content must be a string or a list of parts")
    return tuple(_read_part(part, subject) for part in content)


def _read_part(part: Any, subject: str) -> str | Media:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind not in ("image_url", "input_audio"):
        raise UsageError(f"{subject}: only content parts of type text, image_url and input_audio are supported, not {kind!r}")
    from llamacli.engine.media.read import read_part  # most messages have text only

    return read_part(part, subject)


def _read_call(item: Any, subject: str) -> ToolCall:
    call = _object(item, subject)
    function = _object(call.get("function"), f"{subject}, its function")
    name = _text(function, "name", subject)
    if not name:
        raise UsageError(f"{subject} has no name")
    arguments = function.get("arguments", "{}")
    return ToolCall(name, arguments if isinstance(arguments, str) else json.dumps(arguments), _text(call, "id", subject))


def _read_tool(item: Any, subject: str) -> Tool:
    tool = _object(item, subject)
    if tool.get("type", "function") != "function":
        raise UsageError(f"{subject}: only tools of type function are supported, not {tool['type']!r}")
    function = _object(tool.get("function"), f"{subject}, its function")
    name = _text(function, "name", subject)
    if not name:
        raise UsageError(f"{subject} has no name")
    parameters = function.get("parameters")
    if parameters is not None:
        parameters = _object(parameters, f"{subject}, its parameters")
    return Tool(name, _text(function, "description", subject) or "", parameters)


def _object(item: Any, subject: str) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise UsageError(f"{subject} must be an object")
    return item


def _text(item: Mapping[str, Any], key: str, subject: str) -> str | None:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{subject}: {key} must be a string")
    return value
