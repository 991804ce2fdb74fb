"""Tools of a request: functions, custom tools and namespaces of both, and the choice among them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llamacli.engine.chat.message import Tool
from llamacli.engine.chat.rendering import ToolChoice
from llamacli.engine.chat.tools.check import check_tools
from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import parse_json
from llamacli.openai.fields import Fields

Document = dict[str, Any]

_PERMITTED = ("web_search", "web_search_preview", "web_search_2025_08_26", "image_generation", "tool_search")
"""Tools of OpenAI's own that clients permit without asking for them. The model is not offered them, and a warning says so."""

_INPUT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"], "additionalProperties": False}
"""The parameters of a custom tool, whose input is one text."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A tool as its client declared it. The input of a custom one is text."""

    name: str
    namespace: str | None = None
    is_custom: bool = False

    def call(self, arguments: str) -> Document:
        """Return what a call of the tool has beside its ids and its status."""
        place = {} if self.namespace is None else {"namespace": self.namespace}
        if self.is_custom:
            return {"type": "custom_tool_call", "name": self.name, **place, "input": custom_input(arguments)}
        return {"type": "function_call", "name": self.name, **place, "arguments": arguments}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSet:
    """The tools of a request. `offered` are those among which the model has the `choice`.

    `origins` are by the name that the model sees, `documents` what the response repeats. `warnings` say what is not offered.
    """

    offered: tuple[Tool, ...] = ()
    choice: ToolChoice = "auto"
    parallel: bool = True
    origins: Mapping[str, Origin] = field(default_factory=dict)
    documents: tuple[Document, ...] = ()
    choice_document: Any = "auto"
    warnings: tuple[str, ...] = ()

    def origin(self, name: str) -> Origin:
        """Return the declaration of a tool by the name that the model sees."""
        return self.origins.get(name) or Origin(name)


def read_tools(fields: Fields) -> ToolSet:
    """Read `tools`, `tool_choice` and `parallel_tool_calls`.

    Raises:
        UsageError: if one is invalid or not supported; `parameter` names it.
        SchemaError: if a call cannot be constrained to a tool's parameters.
    """
    documents = _list(fields, "tools")
    tools: dict[str, Tool] = {}
    origins: dict[str, Origin] = {}
    repeated, warnings = [], []
    for place, document in enumerate(documents):
        within = f"tools[{place}]"
        kind = document.get("type") if isinstance(document, Mapping) else None
        if kind in _PERMITTED:
            warnings.append(f"{within}: {kind} runs at OpenAI only, so the model is not offered it")
            continue
        for tool, origin in _read_tool(Fields(document, within=within), within):
            if tool.name in tools:
                raise UsageError(f"{within}: two tools are called {tool.name}", parameter=within)
            tools[tool.name], origins[tool.name] = tool, origin
        repeated.append({"strict": True, "parameters": None, **document} if kind == "function" else dict(document))
    check_tools(tuple(tools.values()))
    choice = fields.value("tool_choice")
    names, mode = _choose(choice, origins)
    return ToolSet(
        offered=tuple(tool for tool in tools.values() if names is None or tool.name in names),
        choice=mode,
        parallel=fields.flag("parallel_tool_calls", default=True),
        origins=origins,
        documents=tuple(repeated),
        choice_document="auto" if choice is None else choice,
        warnings=tuple(warnings),
    )


def seen_name(name: str, namespace: str | None) -> str:
    """Return the name of a tool that the model sees."""
    if not namespace:
        return name
    return namespace + name if namespace.endswith("_") else f"{namespace}__{name}"


def custom_arguments(text: str) -> str:
    """Return the arguments of a call of a custom tool."""
    return json.dumps({"input": text}, ensure_ascii=False)


def custom_input(arguments: str) -> str:
    """Return the input of a custom tool from the arguments of a call, which are its text if they are cut or malformed."""
    try:
        given = parse_json(arguments)
    except InvalidJSONError:
        return arguments
    found = given.get("input") if isinstance(given, Mapping) else None
    return found if isinstance(found, str) else arguments


def _read_tool(fields: Fields, within: str, namespace: str | None = None) -> Iterator[tuple[Tool, Origin]]:
    kind = fields.required_text("type")
    if kind == "namespace" and namespace is None:
        name = fields.required_text("name")
        fields.text("description")
        for place, document in enumerate(_list(fields, "tools")):
            inner = f"{within}.tools[{place}]"
            yield from _read_tool(Fields(document, within=inner), inner, name)
    elif kind in ("function", "custom"):
        yield _read_function(fields, namespace, is_custom=kind == "custom")
    else:
        raise UsageError(f"{within}.type {kind!r} is not supported", parameter=f"{within}.type")
    fields.finish()


def _read_function(fields: Fields, namespace: str | None, *, is_custom: bool) -> tuple[Tool, Origin]:
    name = fields.required_text("name")
    if not name:
        raise fields.fault("name", "is empty")
    description = fields.text("description") or ""
    fields.only("async", False, why="calls are answered with the next request")
    fields.only("defer_loading", False, why="there is no tool search")
    fields.only("allowed_callers", ["direct"], why="only the model calls tools")
    if is_custom:
        fields.only("format", {"type": "text"}, why="the input of a custom tool is text without a grammar")
        parameters: Any = _INPUT
    else:
        fields.flag("strict", default=True)  # arguments are constrained or checked in any case
        fields.value("output_schema")  # describes what the client will send
        parameters = fields.value("parameters")
        if parameters is not None and not isinstance(parameters, Mapping):
            raise fields.fault("parameters", "must be a JSON schema")
    return Tool(seen_name(name, namespace), description, parameters), Origin(name, namespace, is_custom)


def _choose(choice: Any, origins: Mapping[str, Origin]) -> tuple[frozenset[str] | None, ToolChoice]:
    """Return the names of the tools that a choice admits (None: all), and the choice among them."""
    if choice is None or choice == "auto":
        return None, "auto"
    if choice == "none":
        return None, "none"
    if choice == "required":
        return None, "required"
    fields = Fields(choice, within="tool_choice") if isinstance(choice, Mapping) else None
    kind = fields.required_text("type") if fields is not None else None
    if fields is None or kind not in ("function", "custom", "allowed_tools"):
        problem = f"tool_choice {choice if fields is None else kind!r} is not supported"
        hint = "use auto, none, required, or the type function, custom or allowed_tools"
        raise UsageError(problem, hint=hint, parameter="tool_choice")
    if kind == "allowed_tools":
        mode = fields.choice("mode", ("auto", "required")) or "auto"
        named = [Fields(one, within="tool_choice.tools") for one in _list(fields, "tools")]
        fields.finish()
        return frozenset(_named(one, origins) for one in named), "required" if mode == "required" else "auto"
    return frozenset((_named(fields, origins),)), "required"


def _named(fields: Fields, origins: Mapping[str, Origin]) -> str:
    fields.text("type")
    name = seen_name(fields.required_text("name"), fields.text("namespace"))
    fields.finish()
    if name not in origins:
        known = ", ".join(origins)
        raise UsageError(
            f"tool_choice names the unknown tool {name!r}",
            hint=f"the tools are {known}" if known else "the request has no tools",
            parameter="tool_choice",
        )
    return name


def _list(fields: Fields, name: str) -> list[Any]:
    found = fields.value(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise fields.fault(name, "must be a list")
    return found
