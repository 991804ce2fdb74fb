"""The messages and tools of a conversation, in OpenAI's form, checked when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamacli.errors import UsageError


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's call of a tool. `arguments` is JSON text; `id` joins it to the tool's answer."""

    name: str
    arguments: str
    id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """OpenAI's form."""
        function = {"name": self.name, "arguments": self.arguments or "{}"}
        call: dict[str, Any] = {"type": "function", "function": function}
        return call if self.id is None else {"id": self.id, **call}


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `content` is its text, or a tuple of texts for a content of several parts; None with tool calls alone.

    `tool_call_id` and `name` belong to a tool's answer.
    """

    role: str
    content: str | tuple[str, ...] | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning_content: str | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """The content as one text, parts on lines of their own."""
        if self.content is None:
            return ""
        return self.content if isinstance(self.content, str) else "\n".join(self.content)

    def to_json(self) -> dict[str, Any]:
        """OpenAI's form."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if isinstance(self.content, tuple):
            message["content"] = [{"type": "text", "text": text} for text in self.content]
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
        """OpenAI's form."""
        parameters = self.parameters or {"type": "object", "properties": {}}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": dict(parameters)},
        }


def read_messages(document: Any) -> tuple[Message, ...]:
    """The messages of a conversation in OpenAI's form (a list of objects).

    Raises:
        UsageError: it is none; the text says which message is wrong, counting from 1, and how.
    """
    if not isinstance(document, list) or not document:
        raise UsageError("the messages must be a list of at least one object")
    return tuple(_read_message(item, f"message {i}") for i, item in enumerate(document, start=1))


def check_calls(messages: Sequence[Message]) -> None:
    """Whether the calls of tools in a conversation have arguments that chat templates can write: JSON objects.

    Reading a conversation lets them pass, because a model's own call may be broken, and some templates write it as it is.

    Raises:
        UsageError: a call has others; the text says which message is wrong, counting from 1.
    """
    for i, message in enumerate(messages, start=1):
        for j, call in enumerate(message.tool_calls, start=1):
            place = f"message {i}, tool call {j}"
            try:
                arguments = json.loads(call.arguments or "{}")
            except json.JSONDecodeError as error:
                raise UsageError(f"{place}: its arguments are no JSON: {error}") from error
            except (ValueError, RecursionError) as error:  # a number of thousands of digits
                raise UsageError(f"{place}: its arguments are no JSON that can be read") from error
            if not isinstance(arguments, dict):
                raise UsageError(f"{place}: its arguments are no JSON object")


def read_tools(document: Any) -> tuple[Tool, ...]:
    """The tools of a request in OpenAI's form (a list of objects with type "function").

    Raises:
        UsageError: it is none; the text says which tool is wrong, counting from 1, and how.
    """
    if not isinstance(document, list):
        raise UsageError("the tools must be a list of objects")
    tools = tuple(_read_tool(item, f"tool {i}") for i, item in enumerate(document, start=1))
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise UsageError("two tools have the same name")
    return tools


def choose_tools(tools: tuple[Tool, ...], choice: Any) -> tuple[tuple[Tool, ...], str]:
    """The tools that a `tool_choice` of OpenAI's leaves, and the choice among them: auto, none or required.

    Raises:
        UsageError: it names a tool that there is not, or is none of these.
    """
    if choice is None or choice in ("auto", "none", "required"):
        return tools, choice or "auto"
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else choice
    named = tuple(tool for tool in tools if tool.name == name)
    if not named:
        known = ", ".join(tool.name for tool in tools)
        raise UsageError(
            f"there is no tool {name}" if isinstance(name, str) else "tool_choice names no tool", hint=f"there are {known}"
        )
    return named, "required"


def read_response_format(document: Any) -> Any:
    """The JSON schema that a `response_format` of OpenAI's holds the answer to, or None for text.

    Raises:
        UsageError: it is no such object, or of an unknown type, or without the schema that it needs.
    """
    if document is None:
        return None
    if not isinstance(document, Mapping):
        raise UsageError("response_format must be an object")
    kind = document.get("type", "text")
    if kind == "text":
        return None
    if kind not in ("json_object", "json_schema"):
        raise UsageError(f"response_format has an unknown type {kind!r}; known are text, json_object and json_schema")
    inner = document.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, Mapping) else document.get("schema")
    if schema is None and kind == "json_schema":
        raise UsageError("a response_format of type json_schema needs a schema")
    return {"type": "object"} if schema is None else schema


def _read_message(item: Any, place: str) -> Message:
    message = _object(item, place)
    role = _text(message, "role", place)
    if not role:
        raise UsageError(f"{place} has no role")
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise UsageError(f"{place}: tool_calls must be a list")
    tool_calls = tuple(_read_call(call, f"{place}, tool call {i}") for i, call in enumerate(calls or (), start=1))
    content = _read_content(message.get("content"), place)
    reasoning = _text(message, "reasoning_content", place)
    if content is None and not tool_calls and reasoning is None:
        raise UsageError(f"{place} has neither content nor tool calls")
    return Message(role, content, tool_calls, reasoning, _text(message, "tool_call_id", place), _text(message, "name", place))


def _read_content(content: Any, place: str) -> str | tuple[str, ...] | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UsageError(f"{place}: content must be a text or a list of parts")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise UsageError(f"{place}: only content parts of type text are supported, not {kind!r}")
        texts.append(part["text"])
    return tuple(texts)


def _read_call(item: Any, place: str) -> ToolCall:
    call = _object(item, place)
    function = _object(call.get("function"), f"{place}, its function")
    name = _text(function, "name", place)
    if not name:
        raise UsageError(f"{place} has no name")
    arguments = function.get("arguments", "{}")
    return ToolCall(name, arguments if isinstance(arguments, str) else json.dumps(arguments), _text(call, "id", place))


def _read_tool(item: Any, place: str) -> Tool:
    tool = _object(item, place)
    if tool.get("type", "function") != "function":
        raise UsageError(f"{place}: only tools of type function are supported, not {tool['type']!r}")
    function = _object(tool.get("function"), f"{place}, its function")
    name = _text(function, "name", place)
    if not name:
        raise UsageError(f"{place} has no name")
    parameters = function.get("parameters")
    if parameters is not None:
        parameters = _object(parameters, f"{place}, its parameters")
    return Tool(name, _text(function, "description", place) or "", parameters)


def _object(item: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise UsageError(f"{place} must be an object")
    return item


def _text(item: Mapping[str, Any], key: str, place: str) -> str | None:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{place}: {key} must be a text")
    return value
