"""From a row of input to what is asked of the model, and from the answer to a row of output."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamacli.cli.run_constraint import Held, check_json
from llamacli.cli.run_prompt import Question
from llamacli.engine import documents
from llamacli.engine.chat import Answer
from llamacli.engine.constraint import Constraint
from llamacli.engine.events import Finished
from llamacli.engine.message import read_messages, read_tools
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import LlamacliError, UsageError
from llamacli.store.rows import Row

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


def ask(row: Row, base: Question, params: GenerationParams, held: Held | None, template: str | None) -> Asked:
    """What a row asks; the command line's options are the defaults.

    Raises:
        UsageError: a field is missing or makes no sense.
        GrammarError: its own grammar or schema is invalid.
    """
    if row.problem is not None:
        raise UsageError(row.problem)
    fields = _body(row) if row.is_batch else row.fields
    question = _question(fields, base, template, raw=base.raw or (row.is_batch and not ENDPOINTS[row.fields["url"]]))
    return Asked(row=row, question=question, params=_params(fields, params), held=_held(fields) or held)


def _body(row: Row) -> dict[str, Any]:
    url, body = row.fields.get("url"), row.fields["body"]
    if url not in ENDPOINTS:
        raise UsageError(f"the address {url!r} cannot be answered; {' and '.join(ENDPOINTS)} can")
    if not isinstance(body, dict):
        raise UsageError("body is no JSON object")
    return body


def _question(fields: Mapping[str, Any], base: Question, template: str | None, *, raw: bool) -> Question:
    system = _text(fields, "system")
    common: dict[str, Any] = {"raw": raw, "system": base.system if system is None else system}
    if fields.get("tools"):
        common |= {"tools": read_tools(fields["tools"]), **_tool_choice(fields)}
    if template is not None:
        return dataclasses.replace(base, text=fill(template, fields), **common)
    if "messages" in fields and not raw:
        return dataclasses.replace(base, text="", conversation=read_messages(fields["messages"]), **common)
    prompt = _text(fields, "prompt")
    if not prompt:
        raise UsageError("the row has neither a prompt nor messages" if prompt is None else "the prompt is empty")
    return dataclasses.replace(base, text=prompt, **common)


def _tool_choice(fields: Mapping[str, Any]) -> dict[str, Any]:
    choice = fields.get("tool_choice", "auto")
    if choice not in ("auto", "none", "required"):
        raise UsageError("tool_choice of a row is auto, none or required")
    return {"tool_choice": choice, "parallel_tool_calls": bool(fields.get("parallel_tool_calls", False))}


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


def _params(fields: Mapping[str, Any], params: GenerationParams) -> GenerationParams:
    changed: dict[str, Any] = {}
    for name, kind in _NUMBERS.items():
        value = fields.get(name)
        if value in (None, ""):
            continue
        if isinstance(value, bool):
            raise UsageError(f"{name} is no number: {value!r}")
        try:
            changed[name] = kind(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise UsageError(f"{name} is no number: {value!r}") from error
    sampling: SamplingParams = dataclasses.replace(params.sampling, **changed)
    limit = fields.get("max_completion_tokens", fields.get("max_tokens"))
    if limit not in (None, ""):
        if isinstance(limit, bool) or not str(limit).isdecimal():
            raise UsageError(f"max_tokens is no number from 0: {limit!r}")
        params = dataclasses.replace(params, max_tokens=int(limit))
    stop = fields.get("stop")
    if stop:
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(isinstance(text, str) for text in stops):
            raise UsageError("stop is a text or a list of texts")
        params = dataclasses.replace(params, stop=stops)
    return dataclasses.replace(params, sampling=sampling)


def _held(fields: Mapping[str, Any]) -> Held | None:
    schema, grammar = fields.get("json_schema"), _text(fields, "grammar")
    form = fields.get("response_format")
    if isinstance(form, Mapping) and form.get("type") in ("json_object", "json_schema"):
        schema = form.get("json_schema", {}).get("schema", form.get("schema", {"type": "object"}))
    if schema is not None:
        from llamacli.engine.schema import schema_to_grammar

        schema = json.loads(schema) if isinstance(schema, str) else schema
        return Held(Constraint(grammar=schema_to_grammar(schema), trusted=True), schema, has_schema=True)
    return Held(Constraint(grammar=grammar)) if grammar else None


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} is no text")
    return value


def check(asked: Asked, answer: Answer, finished: Finished) -> None:
    """Whether the answer is what was asked for. Raises ConstraintError if it is not."""
    if asked.held is None:
        return
    if finished.reason != "stop" or finished.satisfied is False:
        from llamacli.errors import ConstraintError

        raise ConstraintError("the answer was cut before it was complete")
    if asked.held.has_schema:
        check_json(answer.content, asked.held.schema)


def result(row: Row, model: str, answer: Answer, finished: Finished) -> dict[str, Any]:
    """The row of output for an answer: ours, or that of an OpenAI Batch file."""
    reason = documents.finish_reason(finished.reason, answer)
    if row.is_batch:
        is_chat = ENDPOINTS[row.fields["url"]]
        choice = documents.chat_choice(0, answer, reason) if is_chat else documents.text_choice(0, answer.content, reason)
        body = documents.Heading(model, is_chat=is_chat).document([choice], usage=documents.usage(finished.usage))
        response = {"status_code": 200, "request_id": f"req-{row.number}", "body": body}
        return {"id": f"batch_req_{row.number}", "row": row.number, **_batch(row), "response": response, "error": None}
    found: dict[str, Any] = {**_heading(row), "text": answer.content}
    if answer.reasoning_content:
        found["reasoning_content"] = answer.reasoning_content
    if answer.tool_calls:
        found["tool_calls"] = [call.to_json() for call in answer.tool_calls]
    return {
        **found,
        "finish_reason": reason,
        "usage": documents.usage(finished.usage),
        "timings": documents.timings(finished.timings),
    }


def failure(row: Row, error: LlamacliError) -> dict[str, Any]:
    """The row of output for a row that failed."""
    told = {"type": type(error).__name__.removesuffix("Error"), "message": str(error)}
    if row.is_batch:
        return {"id": f"batch_req_{row.number}", "row": row.number, **_batch(row), "response": None, "error": told}
    return {**_heading(row), "error": told}


def _batch(row: Row) -> dict[str, Any]:
    return {"custom_id": row.fields["custom_id"]}


def _heading(row: Row) -> dict[str, Any]:
    return {"row": row.number, **({"id": row.fields["id"]} if "id" in row.fields else {})}
