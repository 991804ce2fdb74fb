"""A request of `/v1/chat/completions`: from OpenAI's document to a question and the parameters of its answers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from llamacli.engine.chat.message import Message, Tool, choose_tools, read_messages, read_response_format, read_tools
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.tools.check import check_tools
from llamacli.engine.constraint.answer_constraint import AnswerConstraint, grammar_constraint
from llamacli.engine.params import SamplingParams
from llamacli.errors import UsageError
from llamacli.openai.fields import Fields
from llamacli.openai.repeated import MOST_KNOWN, without_prompt
from llamacli.openai.sampling import MOST_CHOICES, Generation, read_generation
from llamacli.openai.schema import json_constraint

LIMITS = ("max_completion_tokens", "max_tokens", "n_predict")

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")

_MOST_TOP = 1000

_ANY_MESSAGES = [{"role": "user", "content": ""}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """How an answer is streamed: with a chunk of the usage at the end, with chunks about the progress of the prompt."""

    usage: bool = False
    progress: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """Prompts and the parameters of their answers. Each has `samples` answers, the best of which, `choices`, are returned.

    `stream` is None for one document. `echo`: the prompt is returned before each answer. `shown` are the fields of the document
    of a filled gap, None for all.
    """

    questions: tuple[Question, ...]
    generation: Generation
    is_chat: bool
    samples: int = 1
    choices: int = 1
    stream: Stream | None = None
    echo: bool = False
    shown: tuple[str, ...] | None = None


def read_chat(document: Any, base: SamplingParams) -> CompletionRequest:
    """Read the document of a request. `base` are the defaults of sampling.

    Raises:
        UsageError: if a field is unknown, has a wrong type or is out of range; `parameter` names it.
        GrammarError: if a grammar or schema is invalid.
    """
    rest = without_prompt(document, "messages", _ANY_MESSAGES)
    if rest is None:
        return _read_chat(document, base)
    request = _known(rest, base)
    conversation = _messages(Fields({"messages": document.get("messages")}))
    question = dataclasses.replace(request.questions[0], conversation=conversation)
    return dataclasses.replace(request, questions=(question,))


@functools.lru_cache(maxsize=MOST_KNOWN)
def _known(rest: bytes, base: SamplingParams) -> CompletionRequest:
    return _read_chat(msgspec.json.decode(rest), base)


def _read_chat(document: Any, base: SamplingParams) -> CompletionRequest:
    fields = Fields(document)
    question = read_question(fields)
    samples = fields.integer("n", low=1, high=MOST_CHOICES) or 1
    generation = read_generation(fields, base, limits=LIMITS, default_limit=None, logprobs=_logprobs(fields))
    stream = read_stream(fields)
    read_common(fields)
    fields.only("modalities", ["text"], why="answers are text")
    fields.only("verbosity", "medium", why="the model has no such setting")
    fields.finish()
    return CompletionRequest(
        questions=(question,), generation=generation, is_chat=True, samples=samples, choices=samples, stream=stream
    )


def read_question(fields: Fields) -> Question:
    """Read the conversation, its tools, its reasoning and the constraint of its answer. Raises as `read_chat`."""
    conversation = _messages(fields)
    tools, choice = _tools(fields)
    variables, reasoning = _template_variables(fields)
    continues = fields.flag("continue_final_message")
    if continues and conversation[-1].role != "assistant":
        raise fields.fault("continue_final_message", "needs a last message of the role assistant")
    fields.only("add_generation_prompt", not continues, why="it is the opposite of continue_final_message")
    return Question(
        conversation=conversation,
        tools=tools,
        tool_choice=choice,  # type: ignore[arg-type]  # choose_tools returns one of the three words
        parallel_tool_calls=fields.flag("parallel_tool_calls", default=True),
        reasoning=reasoning,
        budget=_budget(fields),
        reasoning_format="none" if fields.choice("reasoning_format", ("auto", "deepseek", "none")) == "none" else "deepseek",
        variables=variables or None,
        continues_last=continues,
        constraint=read_constraint(fields),
    )


def read_common(fields: Fields) -> None:
    """Read the fields that change no answer: names for the caller's own records, and choices of which there is only one."""
    fields.value("model")
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        fields.text(name)
    fields.choice("prompt_cache_retention", ("in_memory", "24h", "in-memory"))
    metadata = fields.value("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise fields.fault("metadata", "must be an object")
    fields.only("store", False, why="answers are not stored")
    fields.only("service_tier", "auto", "default", why="there is one tier")
    fields.only("id_slot", -1, why="a request gets the slot that has most of its prompt")
    fields.only("timings_per_token", False, why="the timings come with the end of an answer")


def read_stream(fields: Fields) -> Stream | None:
    """Read `stream` and its options, None if the answer is one document."""
    streams = fields.flag("stream")
    options = fields.inner("stream_options")
    progress = fields.flag("return_progress")
    if not streams:
        for name in ("stream_options", "return_progress"):
            if name in fields and (name != "return_progress" or progress):
                raise fields.fault(name, "needs stream")
        return None
    usage = False
    if options is not None:
        usage = options.flag("include_usage")
        options.only("include_obfuscation", False, why="streams are not padded")
        options.finish()
    return Stream(usage=usage, progress=progress)


def read_constraint(fields: Fields) -> AnswerConstraint | None:
    """Read the constraint of the answer: `response_format`, `json_schema` or `grammar`. Whatever cannot be enforced is refused.

    Raises:
        UsageError: if there are several.
        GrammarError: if it is invalid, or a part of a schema that is not `strict: false` cannot be enforced.
    """
    given = fields.given(("response_format", "json_schema", "grammar"))
    if not given:
        return None
    response_format = fields.value("response_format")
    try:
        wanted = read_response_format(response_format)
    except UsageError as error:
        raise UsageError(error.message, hint=error.hint, parameter="response_format") from error
    if wanted is None and "response_format" in given:
        given.remove("response_format")
    schema, grammar = fields.value("json_schema"), fields.text("grammar")
    if len(given) > 1:
        raise UsageError(f"{given[0]} cannot be used with {given[1]}", parameter=given[1])
    if grammar is not None:
        return grammar_constraint(grammar) if grammar else None
    if not given:
        return None
    inner = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    strict = not (isinstance(inner, Mapping) and inner.get("strict") is False)
    return json_constraint(schema if wanted is None else wanted, strict=strict)


def _messages(fields: Fields) -> tuple[Message, ...]:
    document = fields.value("messages")
    if document is None:
        raise fields.fault("messages", "is missing")
    if isinstance(document, list):
        document = [_with_reasoning(message) for message in document]
    try:
        return read_messages(document)
    except UsageError as error:
        raise UsageError(error.message, hint=error.hint, parameter="messages") from error


def _with_reasoning(message: Any) -> Any:
    """The message with `reasoning`, as some servers call it, under its other name."""
    if isinstance(message, Mapping) and isinstance(message.get("reasoning"), str) and "reasoning_content" not in message:
        return {**message, "reasoning_content": message["reasoning"]}
    return message


def _tools(fields: Fields) -> tuple[tuple[Tool, ...], str]:
    document, choice = fields.value("tools"), fields.value("tool_choice")
    if not document:
        if choice not in (None, "none", "auto"):
            raise fields.fault("tool_choice", "needs tools")
        return (), "auto"
    try:
        tools = read_tools(document)
        check_tools(tools)
    except UsageError as error:
        raise UsageError(error.message, hint=error.hint, parameter="tools") from error
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        return _allowed_tools(fields, tools, choice)
    return choose_tools(tools, choice)


def _allowed_tools(fields: Fields, tools: tuple[Tool, ...], choice: Mapping[str, Any]) -> tuple[tuple[Tool, ...], str]:
    inner = choice.get("allowed_tools", choice)
    named = inner.get("tools") if isinstance(inner, Mapping) else None
    mode = inner.get("mode", "auto") if isinstance(inner, Mapping) else None
    if not isinstance(named, list) or not named or mode not in ("auto", "required"):
        raise fields.fault("tool_choice", "of type allowed_tools needs a list of tools, and the mode auto or required")
    found = [one for name in named for one in choose_tools(tools, name)[0]]
    return tuple(tool for tool in tools if tool in found), mode


def _template_variables(fields: Fields) -> tuple[dict[str, Any], str]:
    """The variables of the template, and whether the model reasons: auto, on or off."""
    given = fields.value("chat_template_kwargs")
    if given is not None and not isinstance(given, Mapping):
        raise fields.fault("chat_template_kwargs", "must be an object")
    variables = dict(given or {})
    thinks = variables.pop("enable_thinking", None)
    if thinks is not None and not isinstance(thinks, bool):
        raise fields.fault("chat_template_kwargs", "must have true or false as enable_thinking")
    effort = fields.choice("reasoning_effort", EFFORTS)
    reasoning = "auto" if thinks is None else "on" if thinks else "off"
    if effort == "none":
        reasoning = "off"
    elif effort is not None:
        variables.setdefault("reasoning_effort", effort)
    return variables, reasoning


def _budget(fields: Fields) -> int | None:
    """The tokens of reasoning, as llama-server and vLLM name them; -1 is no limit."""
    for name in ("thinking_budget", "thinking_budget_tokens", "reasoning_budget"):
        if name in fields:
            budget = fields.integer(name, low=-1)
            return None if budget == -1 else budget
    return None


def _logprobs(fields: Fields) -> int | None:
    """The number of most probable tokens to report, None without log probabilities."""
    wanted, probs = fields.flag("logprobs"), fields.integer("n_probs", low=0, high=_MOST_TOP)
    top = fields.integer("top_logprobs", low=0, high=_MOST_TOP)
    if top is not None and not wanted and top > 0:
        raise fields.fault("top_logprobs", "needs logprobs")
    if wanted:
        return top or 0
    return probs or None
