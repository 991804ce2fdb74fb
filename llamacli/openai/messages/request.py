"""Requests of the Messages API: from their JSON to a question and its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamacli.engine.chat.message import Tool
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.rendering import ToolChoice
from llamacli.engine.chat.tools.check import check_tools
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.params import SamplingParams
from llamacli.errors import UsageError
from llamacli.openai.conversation import with_system
from llamacli.openai.fields import Fields
from llamacli.openai.messages.blocks import read_conversation, read_system
from llamacli.openai.sampling import Generation, read_generation
from llamacli.openai.schema import json_constraint

_EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesRequest:
    """A request of the Messages API. `hides_thinking`: the client gets thinking as opaque text, and hands it back."""

    model: str
    question: Question
    generation: Generation
    stream: bool
    hides_thinking: bool


def read_request(body: Any, defaults: SamplingParams) -> MessagesRequest:
    """Read the body of a request. `defaults` are the server's and the model's.

    Raises:
        UsageError: if a field is invalid, unknown or not supported; `parameter` names it.
        SchemaError: if a schema cannot be enforced.
    """
    fields = Fields(body)
    model = fields.required_text("model")
    question, hides_thinking = _question(fields)
    if "max_tokens" not in fields:
        raise fields.fault("max_tokens", "is missing")
    generation = read_generation(fields, defaults, limits=("max_tokens",), default_limit=None, logprobs=None)
    stop = fields.texts("stop_sequences")
    if not all(text.strip() for text in stop):
        raise fields.fault("stop_sequences", "must hold texts that are not blank")
    params = dataclasses.replace(generation.params, stop=(*generation.params.stop, *stop))
    stream = fields.flag("stream")
    _refuse_unsupported(fields)
    return MessagesRequest(
        model=model,
        question=question,
        generation=dataclasses.replace(generation, params=params),
        stream=stream,
        hides_thinking=hides_thinking,
    )


def read_count(body: Any) -> Question:
    """Read the body of a request to count tokens: what of a request becomes its prompt. Raises as `read_request`."""
    fields = Fields(body)
    fields.required_text("model")
    question, _ = _question(fields)
    _refuse_unsupported(fields)
    return question


def count_document(tokens: int) -> dict[str, Any]:
    """Return the document that says how many tokens a prompt has."""
    return {"input_tokens": tokens}


def _question(fields: Fields) -> tuple[Question, bool]:
    """Return the question, and whether its thinking is hidden."""
    conversation = with_system(read_system(fields), read_conversation(fields.value("messages")))
    tools, choice, parallel = _tools(fields)
    reasoning, budget, hides = _thinking(fields)
    effort, constraint = _output(fields)
    question = Question(
        conversation=conversation,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        reasoning=reasoning,
        budget=budget,
        variables={"reasoning_effort": effort} if effort else None,
        constraint=constraint,
        continues_last=conversation[-1].role == "assistant",
    )
    return question, hides


def _thinking(fields: Fields) -> tuple[str, int | None, bool]:
    """Return whether the model reasons, the tokens it may take for that, and whether the client sees it."""
    given = fields.inner("thinking")
    if given is None:
        return "auto", None, False
    kind = given.choice("type", ("enabled", "disabled", "adaptive"))
    if kind is None:
        raise given.fault("type", "is missing")
    budget = given.integer("budget_tokens", low=1) if kind == "enabled" else None
    display = given.choice("display", ("summarized", "omitted")) if kind != "disabled" else None
    given.finish()
    return {"enabled": "on", "disabled": "off", "adaptive": "auto"}[kind], budget, display == "omitted"


def _output(fields: Fields) -> tuple[str | None, AnswerConstraint | None]:
    """Return the effort of the reasoning, and the constraint of the answer."""
    given = fields.inner("output_config")
    if given is None:
        return None, None
    effort, form = given.choice("effort", _EFFORTS), given.inner("format")
    given.finish()
    if form is None:
        return effort, None
    if form.choice("type", ("json_schema",)) is None:
        raise form.fault("type", "is missing")
    schema = form.value("schema")
    if not isinstance(schema, Mapping):
        raise form.fault("schema", "must be a JSON schema")
    form.finish()
    return effort, json_constraint(schema, strict=True)


def _tools(fields: Fields) -> tuple[tuple[Tool, ...], ToolChoice, bool]:
    """Return the tools that the choice admits, the choice among them, and whether several may be called at once."""
    given = fields.value("tools")
    if given is not None and not isinstance(given, list):
        raise fields.fault("tools", "must be a list")
    tools = tuple(_tool(Fields(item, within=f"tools[{place}]")) for place, item in enumerate(given or ()))
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise fields.fault("tools", "has two tools of one name")
    check_tools(tools)
    choice = fields.inner("tool_choice")
    if choice is None:
        return tools, "auto", True
    kind = choice.choice("type", ("auto", "any", "tool", "none"))
    if kind is None:
        raise choice.fault("type", "is missing")
    if kind == "tool":
        name = choice.required_text("name")
        tools = tuple(tool for tool in tools if tool.name == name)
        if not tools:
            raise choice.fault("name", f"{name!r} is not one of the tools")
    parallel = not choice.flag("disable_parallel_tool_use") if kind != "none" else True
    choice.finish()
    if kind == "any" and not tools:
        raise UsageError("tool_choice is any, but no tools are given", parameter="tool_choice")
    modes: dict[str, ToolChoice] = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}
    return tools, modes[kind], parallel


def _tool(fields: Fields) -> Tool:
    kind = fields.text("type")
    if kind not in (None, "custom"):
        raise fields.fault("type", f"{kind!r} is not supported: only tools with an input_schema of their own are")
    name, schema = fields.required_text("name"), fields.value("input_schema")
    if not name:
        raise fields.fault("name", "is empty")
    if not isinstance(schema, Mapping):
        raise fields.fault("input_schema", "must be a JSON schema")
    fields.value("cache_control")
    for name_of_hint in ("strict", "eager_input_streaming"):  # inputs are constrained or checked, and streamed, in any case
        fields.flag(name_of_hint)
    fields.only("defer_loading", False, why="there is no tool search")
    fields.only("allowed_callers", ["direct"], why="only the model uses tools")
    description = fields.text("description") or ""
    fields.finish()
    return Tool(name, description, schema)


def _refuse_unsupported(fields: Fields) -> None:
    """Refuse what the request asks for in vain. What a client only says about itself is read and left."""
    fields.only("service_tier", "auto", "standard_only", why="there is one tier")
    fields.only("speed", "standard", why="there is one speed")
    fields.only("mcp_servers", [], why="the client runs the tools")
    fields.value("cache_control")
    metadata = fields.inner("metadata")
    if metadata is not None:
        metadata.text("user_id")
        metadata.finish()
    management = fields.inner("context_management")
    if management is not None:
        kept = [{"type": "clear_thinking_20251015", "keep": keep} for keep in ("all", {"type": "all"})]
        edits = management.value("edits") or []
        if not isinstance(edits, list) or not all(edit in kept for edit in edits):
            raise management.fault("edits", "is not supported: nothing is cleared from a conversation")
        management.finish()
    fields.finish()
