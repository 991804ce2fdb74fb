"""Requests of the Responses API: from their JSON to a question and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.question import Question
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import UsageError
from llamacli.openai.conversation import with_system
from llamacli.openai.fields import Fields
from llamacli.openai.responses.items import read_input
from llamacli.openai.responses.store import Document, ResponseStore
from llamacli.openai.responses.tools import ToolSet, read_tools
from llamacli.openai.sampling import Generation, read_generation
from llamacli.openai.schema import json_constraint

_LOGPROBS, _ENCRYPTED = "message.output_text.logprobs", "reasoning.encrypted_content"
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_MOST_LOGPROBS = 20
_ECHOED = ("user", "safety_identifier", "prompt_cache_key", "previous_response_id", "instructions")
"""Texts that the response repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRequest:
    """A request of the Responses API.

    `question` and `generation` are for the engine. `conversation` is all that was said without the instructions, which the
    next response does not take over; `items` are the input items. `repeated` is what the response repeats of the request.
    `includes_logprobs` and `includes_encrypted`: log probabilities, and reasoning as text that clients hand back, are wanted.
    """

    model: str | None
    question: Question
    generation: Generation
    tools: ToolSet
    conversation: tuple[Message, ...]
    items: tuple[Document, ...]
    repeated: Document
    stream: bool
    store: bool
    includes_logprobs: bool
    includes_encrypted: bool


def read_request(body: Any, defaults: SamplingParams, store: ResponseStore, *, owner: str = "") -> ResponseRequest:
    """Read the body of a request. `defaults` are the server's and the model's, `owner` is whose responses it may continue.

    Raises:
        UsageError: if a field is invalid, unknown or not supported; `parameter` names it.
        SchemaError: if a schema cannot be enforced.
    """
    fields = Fields(body)
    conversation, items = read_input(fields.value("input"), _earlier(fields, store, owner))
    tools, effort, logprobs = read_tools(fields), _effort(fields), _logprobs(fields)
    form, constraint = _format(fields)
    generation = read_generation(fields, defaults, limits=("max_output_tokens",), default_limit=None, logprobs=logprobs)
    question = Question(
        conversation=with_system(fields.text("instructions"), conversation),
        tools=tools.offered,
        tool_choice=tools.choice,
        parallel_tool_calls=tools.parallel,
        reasoning="off" if effort == "none" else "on" if effort else "auto",
        variables={"reasoning_effort": effort} if effort and effort != "none" else None,
        constraint=constraint,
    )
    request = ResponseRequest(
        model=fields.text("model"),
        question=question,
        generation=generation,
        tools=tools,
        conversation=conversation,
        items=items,
        repeated=_repeated(fields, tools, generation.params) | {"text": {"format": form, "verbosity": "medium"}},
        stream=fields.flag("stream"),
        store=fields.flag("store", default=True),
        includes_logprobs=logprobs is not None,
        includes_encrypted=_ENCRYPTED in _includes(fields),
    )
    _refuse_unsupported(fields)
    return request


def _repeated(fields: Fields, tools: ToolSet, params: GenerationParams) -> Document:
    """Return what the response repeats of its request, beside the format of its text."""
    return {
        **{name: fields.text(name) for name in _ECHOED},
        "background": False,
        "max_output_tokens": params.max_tokens,
        "max_tool_calls": None,
        "metadata": _metadata(fields),
        "parallel_tool_calls": tools.parallel,
        "reasoning": {"effort": _effort(fields), "summary": None},
        "service_tier": "default",
        "temperature": params.sampling.temperature,
        "tool_choice": tools.choice_document,
        "tools": list(tools.documents),
        "top_logprobs": params.logprobs or 0,
        "top_p": params.sampling.top_p,
        "truncation": "disabled",
    }


def _earlier(fields: Fields, store: ResponseStore, owner: str) -> tuple[Message, ...]:
    """Return the conversation that the request continues."""
    identity = fields.text("previous_response_id")
    if identity is None:
        return ()
    found = store.find(owner, identity)
    if found is None:
        raise UsageError(
            f"there is no response {identity!r}",
            hint="it was made with store=false, or is too old: send the whole conversation as input",
            parameter="previous_response_id",
        )
    return found.conversation


def _includes(fields: Fields) -> tuple[str, ...]:
    wanted = fields.texts("include")
    for one in wanted:
        if one not in (_LOGPROBS, _ENCRYPTED):
            raise fields.fault("include", f"{one!r} is not supported; supported are {_LOGPROBS} and {_ENCRYPTED}")
    return wanted


def _logprobs(fields: Fields) -> int | None:
    """Return how many of the most probable tokens are wanted beside each, None without log probabilities."""
    top = fields.integer("top_logprobs", low=0, high=_MOST_LOGPROBS) or 0
    return top if top or _LOGPROBS in _includes(fields) else None


def _effort(fields: Fields) -> str | None:
    """Return the effort of the reasoning. Raises UsageError for anything else that is wanted of it."""
    given = fields.inner("reasoning")
    if given is None:
        return None
    effort = given.choice("effort", _EFFORTS)
    for name in ("summary", "generate_summary"):
        given.only(name, "auto", why="the reasoning itself is shown, and no summary is made")
    given.only("context", "auto", why="the chat template decides which reasoning the model sees again")
    given.only("mode", "standard", why="there is one mode")
    given.finish()
    return effort


def _format(fields: Fields) -> tuple[Document, AnswerConstraint | None]:
    """Return `text.format` as the response repeats it, and its constraint."""
    text = fields.inner("text")
    if text is None:
        return {"type": "text"}, None
    text.only("verbosity", "medium", why="local models have no such setting")
    given = text.inner("format")
    text.finish()
    kind = given.choice("type", ("text", "json_object", "json_schema")) if given is not None else "text"
    if given is None or kind in (None, "text"):
        if given is not None:
            given.finish()
        return {"type": "text"}, None
    if kind == "json_object":
        given.finish()
        return {"type": kind}, json_constraint({"type": "object"}, strict=True)
    name, schema, strict = given.required_text("name"), given.value("schema"), given.flag("strict", default=True)
    document = {"type": kind, "name": name, "description": given.text("description"), "schema": schema, "strict": strict}
    if not isinstance(schema, Mapping):
        raise given.fault("schema", "must be a JSON schema")
    given.finish()
    return document, json_constraint(schema, strict=strict)


def _metadata(fields: Fields) -> Document:
    given = fields.value("metadata")
    pairs = given if given is not None else {}
    if not isinstance(pairs, Mapping) or not all(isinstance(value, str) for value in pairs.values()):
        raise fields.fault("metadata", "must be an object of strings")
    if len(pairs) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in pairs.items()):
        raise fields.fault("metadata", "may hold 16 pairs of at most 64 and 512 characters")
    return dict(pairs)


def _refuse_unsupported(fields: Fields) -> None:
    """Refuse what the request asks for in vain. What a client only says about itself is read and left."""
    fields.only("background", False, why="answers are made while the client waits")
    fields.only("service_tier", "auto", "default", why="there is one tier")
    fields.only("truncation", "disabled", why="what does not fit is an error")
    fields.only("prompt_cache_retention", "in_memory", why="prompts are cached in memory only")
    options = fields.inner("stream_options")
    if options is not None:
        options.only("include_obfuscation", False, why="nothing is added to the stream")
        options.finish()
    for name in ("prompt_cache_options", "client_metadata"):
        fields.value(name)
    fields.finish()
