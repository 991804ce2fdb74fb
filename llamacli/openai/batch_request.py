"""From a row of input to what is asked of the model."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamacli.batch.reader import Row
from llamacli.cli.run.constraint import Held, hold_to_schema
from llamacli.cli.run.prompt import Question
from llamacli.engine.chat.message import choose_tools, read_messages, read_response_format, read_tools
from llamacli.engine.constraint.matcher import Constraint
from llamacli.engine.constraint.schema import check_tools
from llamacli.engine.params import GenerationParams
from llamacli.errors import UsageError

ENDPOINTS = {"/v1/chat/completions": True, "/v1/completions": False}
"""The addresses of an OpenAI Batch file that can be answered, and whether they are chats."""

_NUMBERS = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "typical_p": float,
    "frequency_penalty": float,
    "presence_penalty": float,
    "repeat_penalty": float,
    "seed": int,
}
"""Sampling that a row may set, by the names of SamplingParams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A row, what it asks and how it is to be generated. `held` is what its answer is held to."""

    row: Row
    question: Question
    params: GenerationParams
    held: Held | None


@dataclass(frozen=True, slots=True)
class Asking:
    """What the command line says for all rows: the defaults of each. `strict` refuses schemas that cannot be enforced.

    `hides_reasoning` leaves it out of the results.
    """

    base: Question
    params: GenerationParams
    held: Held | None = None
    template: str | None = None
    strict: bool = False
    hides_reasoning: bool = False

    def ask(self, row: Row) -> Asked:
        """What a row asks.

        Raises:
            UsageError: a field is missing or makes no sense.
            GrammarError: its own grammar or schema is invalid.
        """
        if row.problem is not None:
            raise UsageError(row.problem)
        fields = _body(row) if row.is_batch else row.fields
        raw = self.base.raw or (row.is_batch and not ENDPOINTS[row.fields["url"]])
        question = self._question(fields, raw=raw)
        _check_characters(question, has_tools=question.tools is not self.base.tools)
        params = _params(fields, self.params, is_chat=not raw)
        return Asked(row=row, question=question, params=params, held=_held(fields, strict=self.strict) or self.held)

    def _question(self, fields: Mapping[str, Any], *, raw: bool) -> Question:
        base, system = self.base, _text(fields, "system")
        common: dict[str, Any] = {"raw": raw, "system": base.system if system is None else system, **_tools(fields, base)}
        if self.template is not None:
            return dataclasses.replace(base, text=fill(self.template, fields), **common)
        if "messages" in fields and not raw:
            conversation = read_messages(fields["messages"])
            if system is None and any(message.role in ("system", "developer") for message in conversation):
                common["system"] = None  # the row's own comes before the one for all rows
            return dataclasses.replace(base, text="", conversation=conversation, **common)
        prompt = _text(fields, "prompt")
        if not prompt:
            raise UsageError("the row has neither a prompt nor messages" if prompt is None else "the prompt is empty")
        return dataclasses.replace(base, text=prompt, **common)


def _body(row: Row) -> dict[str, Any]:
    url, body = row.fields.get("url"), row.fields.get("body")
    if not isinstance(url, str) or url not in ENDPOINTS:
        raise UsageError(f"the address {url!r} cannot be answered; {' and '.join(ENDPOINTS)} can")
    if not isinstance(body, dict):
        raise UsageError("body is no JSON object" if "body" in row.fields else "the row has no body")
    return body


def _check_characters(question: Question, *, has_tools: bool) -> None:
    """Raises UsageError for what JSON can say and a model cannot be told: half of a character."""
    parts = [message.to_json() for message in question.messages]
    if has_tools:
        parts += [tool.to_json() for tool in question.tools]
    try:
        json.dumps(parts, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UsageError("the row holds half of a surrogate pair, which is no character") from error


def _tools(fields: Mapping[str, Any], base: Question) -> dict[str, Any]:
    """A row's own tools, or its choice among those of all rows."""
    tools = base.tools
    if fields.get("tools"):
        tools = read_tools(fields["tools"])
        check_tools(tools)
    if not tools or ("tools" not in fields and "tool_choice" not in fields):
        return {}
    left, choice = choose_tools(tools, fields.get("tool_choice"))
    parallel = bool(fields.get("parallel_tool_calls", base.parallel_tool_calls))
    return {"tools": left, "tool_choice": choice, "parallel_tool_calls": parallel}


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """The template with `{name}` replaced by the row's fields; `{{` and `}}` are braces.

    Raises:
        UsageError: a field that the row does not have.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] not in fields:
            raise UsageError(f"the row has no field {match[1]!r}, which the template names")
        found = fields[match[1]]
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return re.sub(r"\{\{|\}\}|\{([^{}]+)\}", value, template)


def _params(fields: Mapping[str, Any], params: GenerationParams, *, is_chat: bool) -> GenerationParams:
    changed: dict[str, Any] = {
        name: _number(fields[name], name, kind) for name, kind in _NUMBERS.items() if _given(fields, name)
    }
    if changed.get("seed", 0) < 0:
        changed["seed"] = None
    if _given(fields, "logit_bias"):
        changed["logit_bias"] = _biases(fields["logit_bias"])
    sampling = dataclasses.replace(params.sampling, **changed)
    more: dict[str, Any] = {"logprobs": _logprobs(fields, is_chat=is_chat)}
    limit = "max_completion_tokens" if _given(fields, "max_completion_tokens") else "max_tokens"
    if _given(fields, limit):
        more["max_tokens"] = _number(fields[limit], limit, int)
        if more["max_tokens"] < 0:
            raise UsageError(f"{limit} is no number from 0: {fields[limit]!r}")
    if fields.get("stop"):
        stop = fields["stop"]
        more["stop"] = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else (None,)
        if not all(isinstance(text, str) for text in more["stop"]):
            raise UsageError("stop is a text or a list of texts")
    if fields.get("n") not in (None, "", 1, "1"):
        raise UsageError("n of a row is 1", hint="write the row again for another answer")
    return dataclasses.replace(params, sampling=sampling, **more)


def _given(fields: Mapping[str, Any], name: str) -> bool:
    """Whether a field says anything; those of CSV files are empty where they do not."""
    return fields.get(name) not in (None, "")


def _number(value: Any, name: str, kind: type) -> Any:
    """A number, or the text of one, as CSV files have it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UsageError(f"{name} is no number: {value!r}")
    try:
        number = float(value) if kind is float else int(value)
        is_finite = math.isfinite(number)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name} is no {'whole ' if kind is int else ''}number: {value!r}") from error
    if not is_finite or (isinstance(value, float) and number != value):
        raise UsageError(f"{name} is no {'whole' if kind is int else 'finite'} number: {value!r}")
    return number


def _biases(document: Any) -> tuple[tuple[int | str, float], ...]:
    """Biases as OpenAI has them: an object of token ids. False forbids a token."""
    if not isinstance(document, Mapping):
        raise UsageError("logit_bias is no object of token ids and biases")
    found: list[tuple[int | str, float]] = []
    for token, bias in document.items():
        value = -math.inf if bias is False else _number(bias, f"the bias of {token}", float)
        found.append((_number(token, "a token of logit_bias", int), value))
    return tuple(found)


def _logprobs(fields: Mapping[str, Any], *, is_chat: bool) -> int | None:
    """How many log probabilities: `logprobs` is their number, or in a chat yes, and `top_logprobs` their number."""
    wanted = fields.get("logprobs")
    if wanted in (None, "", False):
        return None
    if wanted is True and not is_chat:
        raise UsageError("logprobs of a text completion is a number")
    number: int = (
        _number(fields.get("top_logprobs") or 0, "top_logprobs", int) if wanted is True else _number(wanted, "logprobs", int)
    )
    return number


def _held(fields: Mapping[str, Any], *, strict: bool) -> Held | None:
    schema = fields.get("json_schema") or read_response_format(fields.get("response_format") or None)
    given = {"json_schema": schema, **{name: fields.get(name) or None for name in ("grammar", "regex", "choices")}}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} exclude each other")
    if schema is not None:
        try:
            return hold_to_schema(schema if isinstance(schema, str) else json.dumps(schema, sort_keys=True), strict=strict)
        except ValueError as error:
            raise UsageError("the schema cannot be read: a number of it has thousands of digits") from error
    grammar = _text(fields, "grammar")
    if grammar:
        return Held(Constraint(grammar=grammar))
    pattern = _text(fields, "regex")
    if pattern:
        from llamacli.grammar.regex import from_regex

        return Held(Constraint(grammar=from_regex(pattern)))
    return Held(Constraint(grammar=_one_of(fields["choices"]))) if names else None


def _one_of(choices: Any) -> str:
    from llamacli.grammar.choices import from_choices

    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise UsageError("choices is no list of texts")
    return from_choices(choices)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} is no text")
    return value
