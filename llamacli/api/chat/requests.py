"""Requests of chats in OpenAI's older forms, and answers to them: functions in place of tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llamacli.engine.chat.message import Message, read_messages
from llamacli.errors import UsageError

Document = dict[str, Any]


def messages_of(messages: Any) -> tuple[Message, ...]:
    """Read messages, those about functions too.

    Raises:
        UsageError: if they do not have OpenAI's form.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise UsageError(f"messages must be a list of objects, not {type(messages).__name__}", parameter="messages")
    return read_messages([_with_tools(message) if isinstance(message, Mapping) else message for message in messages])


def _with_tools(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message with a tool call in place of a function call."""
    call = message.get("function_call")
    if message.get("role") == "function":
        return {**message, "role": "tool", "tool_call_id": message.get("tool_call_id") or message.get("name")}
    if call and not message.get("tool_calls"):
        rest = {key: value for key, value in message.items() if key != "function_call"}
        return {**rest, "tool_calls": [{"id": call.get("name"), "type": "function", "function": call}]}
    return message


def tools_of(
    functions: Sequence[Mapping[str, Any]] | None,
    function_call: Any,
    tools: Sequence[Mapping[str, Any]] | None,
    tool_choice: Any,
) -> tuple[Sequence[Mapping[str, Any]] | None, Any]:
    """Return the tools of a request and their choice. Functions become tools.

    Raises:
        UsageError: if both are given.
    """
    if functions and tools:
        raise UsageError("functions cannot be used with tools", parameter="functions")
    if functions:
        tools = [{"type": "function", "function": function} for function in functions]
    if function_call is not None and tool_choice is None:
        tool_choice = {"type": "function", "function": function_call} if isinstance(function_call, Mapping) else function_call
    return tools, tool_choice


def with_function_call(document: Document) -> Document:
    """Add `function_call`, in the older form, to an answer or a chunk that has tool calls."""
    for choice in document["choices"]:
        for part in ("message", "delta"):
            calls = choice.get(part, {}).get("tool_calls")
            if calls:
                choice[part]["function_call"] = {"name": calls[0]["function"].get("name") or "", **calls[0]["function"]}
    return document
