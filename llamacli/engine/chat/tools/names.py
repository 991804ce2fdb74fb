"""Names of tools and parameters that llama.cpp's formats keep apart.

llama.cpp names the rules of a tool's grammar and parser after the tool and its parameters, with every run of characters
outside [A-Za-z0-9-] as one hyphen. So names that differ only there would share a rule: `größe` and `grüße`, or `get_user` and
`get-user`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llamacli.engine.chat.message import Message, Tool, ToolCall
from llamacli.errors import InvalidJSONError
from llamacli.json_text import parse_json

Names = dict[str, str]
_OTHER = re.compile("[^a-zA-Z0-9-]+")


class ToolNames:
    """Unique names for tools and parameters, on the way in and back. Names that collide with an earlier one get a number."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = _renamed(tool.name for tool in tools)
        self._parameters = {tool.name: _renamed(_properties(tool)) for tool in tools}

    @property
    def changes(self) -> bool:
        """True if a name is replaced."""
        return bool(self._tools) or any(self._parameters.values())

    def tool(self, tool: Tool) -> Tool:
        """Return a tool under its unique names, with parameters that llama.cpp can convert."""
        from llamacli.grammar.schema.plain import plain_schema  # needed with tools only

        names, parameters = self._parameters.get(tool.name, {}), plain_schema(tool.parameters)
        if names and parameters is not None:
            schema = {**parameters, "properties": _with_names(parameters["properties"], names)}
            if isinstance(schema.get("required"), list):
                schema["required"] = [names.get(name, name) for name in schema["required"]]
            parameters = schema
        return dataclasses.replace(tool, name=self._tools.get(tool.name, tool.name), parameters=parameters)

    def message(self, message: Message) -> Message:
        """Return a message whose calls and results have the unique names."""
        calls = tuple(self._call(call) for call in message.tool_calls)
        name = (
            self._tools.get(message.name, message.name) if message.name is not None and message.role == "tool" else message.name
        )
        return dataclasses.replace(message, tool_calls=calls, name=name)

    def _call(self, call: ToolCall) -> ToolCall:
        arguments = _rename_keys(call.arguments, self._parameters.get(call.name, {}))
        return dataclasses.replace(call, name=self._tools.get(call.name, call.name), arguments=arguments)

    def originals(self) -> dict[str, Any]:
        """Return the way back, for `OriginalNames`."""
        unique = {name: self._tools.get(name, name) for name in self._parameters}
        return {
            unique[name]: {"name": name, "parameters": {new: old for old, new in names.items()}}
            for name, names in self._parameters.items()
            if names or unique[name] != name
        }


class OriginalNames:
    """The names of tools and parameters that the caller gave, for calls in an answer."""

    def __init__(self, originals: Mapping[str, Any]) -> None:
        self._originals = originals

    def tool(self, name: str) -> str:
        """Return the caller's name of a tool."""
        found = self._originals.get(name)
        return found["name"] if found is not None else name

    def changes_parameters(self, name: str) -> bool:
        """Return whether parameters of a tool, under its unique name, have other names."""
        found = self._originals.get(name)
        return bool(found and found["parameters"])

    def arguments(self, name: str, arguments: str) -> str:
        """Return the arguments of a call under the caller's names."""
        found = self._originals.get(name)
        return _rename_keys(arguments, found["parameters"]) if found is not None else arguments


def _properties(tool: Tool) -> Mapping[str, Any]:
    properties = (tool.parameters or {}).get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _renamed(names: Iterable[str]) -> Names:
    """Return new names for those that share a rule with an earlier one."""
    given = list(names)
    taken: set[str] = set()
    found: Names = {}
    for name in given:
        unique, number = name, 2
        while _OTHER.sub("-", unique) in taken or (unique != name and unique in given):
            unique, number = f"{name}_{number}", number + 1
        taken.add(_OTHER.sub("-", unique))
        if unique != name:
            found[name] = unique
    return found


def _rename_keys(arguments: str, names: Names) -> str:
    """Rename the keys of a JSON object; other text stays."""
    if not names:
        return arguments
    try:
        document = parse_json(arguments)
    except InvalidJSONError:
        return arguments
    return json.dumps(_with_names(document, names), ensure_ascii=False) if isinstance(document, dict) else arguments


def _with_names(values: Mapping[str, Any], names: Names) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}
