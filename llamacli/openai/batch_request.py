"""From a row of input to a question and its parameters."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llamacli.engine.chat.message import Message, choose_tools, read_messages, read_response_format, read_tools
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.tools.check import check_tools
from llamacli.engine.constraint.answer_constraint import AnswerConstraint, grammar_constraint
from llamacli.engine.media.media import Media
from llamacli.engine.params import GenerationParams, sampling_numbers
from llamacli.errors import UsageError
from llamacli.media.kind import MediaKind
from llamacli.openai.batch_row import Row
from llamacli.openai.schema import json_constraint

ENDPOINTS = {"/v1/chat/completions": True, "/v1/completions": False}
"""Supported endpoints of OpenAI Batch files; True for chats."""

_MEDIA_FIELDS = frozenset({"image", "audio"})
_MEDIA_FIELD = re.compile(r"(?<!\{)\{(image|audio)\}(?!\})")
"""Fields of a template that are names of files."""
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRequest:
    """A row, its question and the parameters of its answer."""

    row: Row
    question: Question
    params: GenerationParams


@dataclass(frozen=True, slots=True)
class RowDefaults:
    """Defaults of all rows. `template` makes prompts from their fields; `strict` refuses schemas that cannot be enforced.

    `attach` returns the picture or sound of a file's name or data URL, for the fields `image` and `audio` of the template;
    without it they are text.
    """

    base: Question
    params: GenerationParams
    template: str | None = None
    strict: bool = False
    attach: Callable[[str, MediaKind], Media] | None = None

    def request(self, row: Row) -> RowRequest:
        """Return the request of a row.

        Raises:
            UsageError: if a field is missing or invalid.
            GrammarError: if the row's own grammar or schema is invalid.
        """
        if row.problem is not None:
            raise UsageError(row.problem)
        fields = _body(row) if row.is_batch else row.fields
        raw = self.base.raw or (row.is_batch and not ENDPOINTS[row.fields["url"]])
        question = self._question(fields, raw=raw)
        _check_characters(question, fields.get("stop"), has_tools=question.tools is not self.base.tools)
        params = _params(fields, self.params, is_chat=not raw)
        constraint = _constraint(fields, strict=self.strict) or self.base.constraint
        return RowRequest(row=row, question=dataclasses.replace(question, constraint=constraint), params=params)

    def _question(self, fields: Mapping[str, Any], *, raw: bool) -> Question:
        base, system = self.base, _text(fields, "system")
        common: dict[str, Any] = {"raw": raw, "system": base.system if system is None else system, **_tools(fields, base)}
        if self.template is not None:
            if self.attach is None or _MEDIA_FIELDS.isdisjoint(template_fields(self.template)):
                return dataclasses.replace(base, text=fill(self.template, fields), **common)
            message = Message("user", _filled_parts(self.template, fields, self.attach))
            return dataclasses.replace(base, text="", conversation=(message,), **common)
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
        raise UsageError(f"unsupported endpoint {url!r}; supported are {' and '.join(ENDPOINTS)}")
    if not isinstance(body, dict):
        raise UsageError("body is not a JSON object" if "body" in row.fields else "the row has no body")
    return body


def _check_characters(question: Question, stop: object, *, has_tools: bool) -> None:
    """Raise UsageError for half a character, which JSON can contain and a model cannot read."""
    parts: list[object] = [stop, *(message.to_json(lambda media: {}) for message in question.messages)]
    if has_tools:
        parts += [tool.to_json() for tool in question.tools]
    try:
        json.dumps(parts, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UsageError("the row contains half of a surrogate pair, which is not a character") from error


def _tools(fields: Mapping[str, Any], base: Question) -> dict[str, Any]:
    """The row's own tools, or its choice among those of all rows."""
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
    """Return the template with `{name}` replaced by the row's fields; `{{` and `}}` are braces.

    Raises:
        UsageError: if the row lacks a field of the template.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] not in fields:
            others = f"; its fields are {', '.join(fields)}" if fields else ""
            raise UsageError(f"the row has no field {match[1]!r}, which the template uses{others}")
        found = fields[match[1]]
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _FIELD.sub(value, template)


def _filled_parts(
    template: str, fields: Mapping[str, Any], attach: Callable[[str, MediaKind], Media]
) -> tuple[str | Media, ...]:
    """Return the template with its fields filled in, as texts and the pictures and sounds between them.

    Raises:
        UsageError: if the row lacks a field of the template, or a file cannot be read.
        MediaError: if a picture or sound is damaged or too large.
    """
    parts: list[str | Media] = []
    for number, piece in enumerate(_MEDIA_FIELD.split(template)):
        if number % 2 == 0:
            parts.append(fill(piece, fields))
            continue
        kind: MediaKind = "image" if piece == "image" else "audio"
        name = fill(f"{{{piece}}}", fields)
        if not name:
            raise UsageError(f"the field {piece} of the row is empty")
        parts.append(attach(name, kind))
    return tuple(part for part in parts if not isinstance(part, str) or part.strip())


def template_fields(template: str | None) -> tuple[str, ...]:
    """Return the fields that the prompt of a row is made of."""
    if template is None:
        return ("prompt",)
    return tuple(dict.fromkeys(match[1] for match in _FIELD.finditer(template) if match[1]))


def template_media(template: str | None) -> tuple[MediaKind, ...]:
    """Return the kinds of media that the fields of a template name."""
    found = {match[1] for match in _MEDIA_FIELD.finditer(template or "")}
    kinds: tuple[MediaKind, ...] = ("image", "audio")
    return tuple(kind for kind in kinds if kind in found)


def _params(fields: Mapping[str, Any], params: GenerationParams, *, is_chat: bool) -> GenerationParams:
    changed: dict[str, Any] = {
        name: _number(fields[name], name, kind) for name, kind in sampling_numbers().items() if _given(fields, name)
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
            raise UsageError(f"{limit} must be at least 0: {fields[limit]!r}")
    if fields.get("stop"):
        stop = fields["stop"]
        more["stop"] = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else (None,)
        if not all(isinstance(text, str) for text in more["stop"]):
            raise UsageError("stop must be a string or a list of strings")
    if fields.get("n") not in (None, "", 1, "1"):
        raise UsageError("n must be 1", hint="repeat the row for another answer")
    return dataclasses.replace(params, sampling=sampling, **more)


def _given(fields: Mapping[str, Any], name: str) -> bool:
    """Return whether a field has a value; in CSV files it is empty without one."""
    return fields.get(name) not in (None, "")


def _number(value: Any, name: str, kind: type) -> Any:
    """Parse a number, or the text of one, as CSV files have it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UsageError(f"{name} is not a number: {value!r}")
    try:
        number = float(value) if kind is float else int(value)
        is_finite = math.isfinite(number)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name} is not a {'whole ' if kind is int else ''}number: {value!r}") from error
    if not is_finite or (isinstance(value, float) and number != value):
        raise UsageError(f"{name} is not a {'whole' if kind is int else 'finite'} number: {value!r}")
    return number


def _biases(document: Any) -> tuple[tuple[int | str, float], ...]:
    """Parse biases as OpenAI has them: an object of token ids. False forbids a token."""
    if not isinstance(document, Mapping):
        raise UsageError("logit_bias must be an object of token ids and biases")
    found: list[tuple[int | str, float]] = []
    for token, bias in document.items():
        value = -math.inf if bias is False else _number(bias, f"the bias of {token}", float)
        found.append((_number(token, "a token of logit_bias", int), value))
    return tuple(found)


def _logprobs(fields: Mapping[str, Any], *, is_chat: bool) -> int | None:
    """The number of log probabilities: `logprobs`, or in a chat `top_logprobs` if `logprobs` is true."""
    wanted = fields.get("logprobs")
    if wanted in (None, "", False):
        return None
    if wanted is True and not is_chat:
        raise UsageError("logprobs of a text completion must be a number")
    number: int = (
        _number(fields.get("top_logprobs") or 0, "top_logprobs", int) if wanted is True else _number(wanted, "logprobs", int)
    )
    return number


def _constraint(fields: Mapping[str, Any], *, strict: bool) -> AnswerConstraint | None:
    schema = fields.get("json_schema") or read_response_format(fields.get("response_format") or None)
    given = {"json_schema": schema, **{name: fields.get(name) or None for name in ("grammar", "regex", "choices")}}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{names[0]} cannot be used with {' or '.join(names[1:])}")
    if schema is not None:
        return json_constraint(schema, strict=strict)
    grammar = _text(fields, "grammar")
    if grammar:
        return grammar_constraint(grammar)
    pattern = _text(fields, "regex")
    if pattern:
        from llamacli.grammar.regex import from_regex

        return grammar_constraint(from_regex(pattern))
    return grammar_constraint(_one_of(fields["choices"])) if names else None


def _one_of(choices: Any) -> str:
    from llamacli.grammar.choices import from_choices

    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise UsageError("choices must be a list of strings")
    return from_choices(choices)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} must be a string")
    return value
