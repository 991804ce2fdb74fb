"""Requests of OpenAI's API: from messages and parameters to documents, and what of them a server has no field for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llamacli.engine.chat.message import Message, Tool
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.params import GenerationParams, SamplingParams, sampling_fields

_OPENAI_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed")
_DEFAULTS = SamplingParams()


class UnchosenFloat(float):
    """A number of sampling that nobody chose: the server's own default applies."""

    __slots__ = ()


class UnchosenInt(int):
    """A whole number of sampling that nobody chose: the server's own default applies."""

    __slots__ = ()


@dataclass(slots=True)
class Draft:
    """A document in the making. `lacks` are the parameters that the server has no field for, each once.

    `extended`: the server takes llama-server's fields besides OpenAI's.
    """

    extended: bool
    body: dict[str, Any] = field(default_factory=dict)
    lacks: list[str] = field(default_factory=list)

    def add(self, name: str, value: Any, parameter: str, *, known: bool) -> None:
        """Add a field that the server knows, or else note the parameter behind it."""
        if known or self.extended:
            self.body[name] = value
        elif parameter not in self.lacks:
            self.lacks.append(parameter)


def unchosen(base: SamplingParams) -> SamplingParams:
    """Return `base` with its numbers marked, so that `add_generation` sends only those that are replaced later."""
    numbers: dict[str, Any] = {}
    for one in sampling_fields().values():
        value = getattr(base, one.name)
        if one.number is not None and value is not None:
            numbers[one.name] = UnchosenFloat(value) if one.number is float else UnchosenInt(value)
    return SamplingParams(**{one.name: numbers.get(one.name, getattr(base, one.name)) for one in sampling_fields().values()})


def add_messages(draft: Draft, messages: Sequence[Message]) -> None:
    """Add a conversation. Reasoning of earlier answers is a field of llama-server only."""
    draft.body["messages"] = [_message(message, extended=draft.extended) for message in messages]


def add_tools(draft: Draft, tools: Sequence[Tool], choice: str, *, parallel: bool) -> None:
    """Add tools, if there are any and one may be called."""
    if tools and choice != "none":
        draft.body |= {"tools": [tool.to_json() for tool in tools], "tool_choice": choice, "parallel_tool_calls": parallel}


def add_reasoning(draft: Draft, reasoning: str, budget: int | None, variables: Mapping[str, Any] | None) -> None:
    """Add whether the model reasons ("on", "off" or "auto"), its budget in tokens, and the variables of the template."""
    given = dict(variables or {})
    if reasoning != "auto":
        given["enable_thinking"] = reasoning == "on"
    if given:
        draft.add("chat_template_kwargs", given, "reasoning", known=False)
    if budget is not None:
        draft.add("thinking_budget_tokens", budget, "reasoning_budget", known=False)


def add_constraint(draft: Draft, constraint: AnswerConstraint | None) -> None:
    """Add a constraint: a JSON schema as every server takes it, a grammar as llama-server does."""
    if constraint is None:
        return
    if constraint.has_schema:
        schema = {"name": "answer", "schema": constraint.schema, "strict": _is_strict(constraint.schema)}
        draft.body["response_format"] = {"type": "json_schema", "json_schema": schema}
    else:
        draft.add("grammar", constraint.grammar.grammar, "grammar", known=False)


def add_generation(draft: Draft, params: GenerationParams, *, is_chat: bool) -> None:
    """Add the limits and the sampling that were chosen."""
    if params.max_tokens is not None:
        draft.body["max_tokens"] = params.max_tokens
    elif not is_chat:
        draft.add("max_tokens", -1, "predict", known=False)  # OpenAI's default is 16
    if params.stop:
        draft.body["stop"] = list(params.stop)
    if params.logprobs is not None:
        top = params.logprobs
        draft.body |= {"logprobs": True, "top_logprobs": top} if is_chat else {"logprobs": top}
    if params.context_shift:
        draft.lacks.append("context_shift")
    _add_sampling(draft, params.sampling)


def _add_sampling(draft: Draft, sampling: SamplingParams) -> None:
    for one in sampling_fields().values():
        value = getattr(sampling, one.name)
        if one.name == "logit_bias" or isinstance(value, UnchosenFloat | UnchosenInt):
            continue
        if one.number is None and value == getattr(_DEFAULTS, one.name):
            continue
        if value is not None:
            sent = list(value) if isinstance(value, tuple) else value
            draft.add(one.name, sent, one.name, known=one.name in _OPENAI_SAMPLING)
    if sampling.logit_bias:
        least = False if draft.extended else -100
        draft.body["logit_bias"] = {str(token): least if math.isinf(bias) else bias for token, bias in sampling.logit_bias}


def _message(message: Message, *, extended: bool) -> dict[str, Any]:
    document = message.to_json()
    if not extended:
        document.pop("reasoning_content", None)
    return document


def _is_strict(schema: Any) -> bool:
    """Return whether a schema has the form that OpenAI enforces: every object is closed, and requires all its properties."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        properties = schema.get("properties")
        names = set(properties) if isinstance(properties, dict) else set()
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or names != set(required if isinstance(required, list) else ()):
            return False
    return all(map(_is_strict, schema.values()))
