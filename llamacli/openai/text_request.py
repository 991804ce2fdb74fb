"""Requests of `/v1/completions`, `/completion` and `/infill`: from documents to texts that are continued or filled in."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import msgspec

from llamacli.engine.chat.question import Question
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.params import SamplingParams
from llamacli.errors import UsageError
from llamacli.openai.chat_request import CompletionRequest, read_common, read_constraint, read_stream
from llamacli.openai.fields import Fields, check_characters
from llamacli.openai.repeated import MOST_KNOWN, without_prompt
from llamacli.openai.sampling import MOST_CHOICES, Generation, read_generation

LIMITS = ("max_tokens", "max_completion_tokens", "n_predict")

DEFAULT_LIMIT = 16
"""Tokens of an answer if the request sets no limit: OpenAI's default."""

MOST_PROMPTS = 2048

_MOST_TOP = 1000


def read_completion(document: Any, base: SamplingParams) -> CompletionRequest:
    """Read the document of a request of `/v1/completions`. Raises as `chat_request.read_chat`."""
    prompt = document.get("prompt") if isinstance(document, dict) else None
    if not isinstance(prompt, str) or (rest := without_prompt(document, "prompt", "")) is None:
        return _read_completion(document, base)
    check_characters(prompt, None)
    return dataclasses.replace(_known(rest, base), questions=(Question(text=prompt, raw=True),))


@functools.lru_cache(maxsize=MOST_KNOWN)
def _known(rest: bytes, base: SamplingParams) -> CompletionRequest:
    return _read_completion(msgspec.json.decode(rest), base)


def _read_completion(document: Any, base: SamplingParams) -> CompletionRequest:
    fields = Fields(document)
    constraint, suffix = read_constraint(fields), fields.text("suffix")
    prompts = _prompts(fields)
    questions = tuple(_question(fields, prompt, suffix, constraint) for prompt in prompts)
    choices = fields.integer("n", low=1, high=MOST_CHOICES) or 1
    samples = fields.integer("best_of", low=1, high=MOST_CHOICES) or choices
    if samples < choices:
        raise fields.fault("best_of", f"must be at least n, which is {choices}")
    stream, echo = read_stream(fields), fields.flag("echo")
    if samples > choices and stream is not None:
        raise fields.fault("best_of", "cannot be used with stream")
    if echo and suffix:
        raise fields.fault("echo", "cannot be used with suffix")
    generation = _generation(fields, base, DEFAULT_LIMIT)
    if echo and generation.params.logprobs is not None:
        if stream is not None:
            raise fields.fault("echo", "with logprobs cannot be used with stream")
        generation = dataclasses.replace(generation, params=dataclasses.replace(generation.params, score_prompt=True))
    read_common(fields)
    fields.finish()
    return CompletionRequest(
        questions=questions,
        generation=generation,
        is_chat=False,
        samples=samples,
        choices=choices,
        stream=stream,
        echo=echo,
    )


def read_native(document: Any, base: SamplingParams) -> CompletionRequest:
    """Read the document of a request of llama-server's `/completion`. Raises as `chat_request.read_chat`."""
    fields = Fields(document)
    given = fields.value("prompt")
    if given is None:
        raise fields.fault("prompt", "is missing")
    question = _question(fields, read_text(given, fields, "prompt"), None, read_constraint(fields))
    return _native_request(fields, base, question)


def read_infill(document: Any, base: SamplingParams) -> CompletionRequest:
    """Read the document of a request of llama-server's `/infill`. Raises as `chat_request.read_chat`."""
    fields = Fields(document)
    prefix, suffix = fields.required_text("input_prefix"), fields.required_text("input_suffix")
    gap = (prefix + (fields.text("prompt") or ""), suffix)
    question = Question(gap=gap, files=_files(fields), constraint=read_constraint(fields))
    return _native_request(fields, base, question)


def _native_request(fields: Fields, base: SamplingParams, question: Question) -> CompletionRequest:
    """Read what the requests have in common that llama-server answers in its own format."""
    generation = _generation(fields, base, None)
    stream = read_stream(fields)
    if stream is not None and stream.usage:
        raise fields.fault("stream_options", "is not supported: the last chunk has the numbers of tokens")
    if stream is not None and stream.progress:
        raise fields.fault("return_progress", "is not supported: comments tell the progress")
    shown = fields.texts("response_fields") or None
    fields.number("t_max_prompt_ms")  # llama.vim sends it, and llama-server has no such limit either
    read_common(fields)
    fields.finish()
    return CompletionRequest(questions=(question,), generation=generation, is_chat=False, stream=stream, shown=shown)


def _generation(fields: Fields, base: SamplingParams, default_limit: int | None) -> Generation:
    """Read sampling and limits, with llama-server's at the lines of an answer, where 0 or less is no limit."""
    generation = read_generation(fields, base, limits=LIMITS, default_limit=default_limit, logprobs=_logprobs(fields))
    milliseconds, indent = fields.integer("t_max_predict_ms", low=-1) or 0, fields.integer("n_indent", low=0) or 0
    if milliseconds <= 0 and not indent:
        return generation
    max_ms = float(milliseconds) if milliseconds > 0 else None
    return dataclasses.replace(generation, params=dataclasses.replace(generation.params, max_ms=max_ms, min_indent=indent))


def _files(fields: Fields) -> tuple[tuple[str, str], ...]:
    """The names and texts of `input_extra`."""
    document = fields.value("input_extra")
    if not isinstance(document, list | None):
        raise fields.fault("input_extra", "must be a list of objects with filename and text")
    found = []
    for number, item in enumerate(document or ()):
        file = Fields(item, within=f"input_extra[{number}]")
        found.append((file.text("filename") or "tmp", file.required_text("text")))
        file.value("time")  # llama.vim says when it took a chunk
        file.finish()
    return tuple(found)


def _question(
    fields: Fields, prompt: str | tuple[int, ...], suffix: str | None, constraint: AnswerConstraint | None
) -> Question:
    if isinstance(prompt, tuple):
        if suffix:
            raise fields.fault("suffix", "needs a prompt of text, not of tokens")
        return Question(tokens=prompt, raw=True, constraint=constraint)
    if suffix:
        return Question(gap=(prompt, suffix), constraint=constraint)
    return Question(text=prompt, raw=True, constraint=constraint)


def _prompts(fields: Fields) -> list[str | tuple[int, ...]]:
    """The prompts: a text, tokens, or a list of either."""
    document = fields.value("prompt")
    if document is None:
        raise fields.fault("prompt", "is missing")
    items = document if isinstance(document, list) and not is_tokens(document) else [document]
    if not items or len(items) > MOST_PROMPTS:
        raise fields.fault("prompt", f"must hold from 1 to {MOST_PROMPTS} prompts")
    return [read_text(item, fields, "prompt") for item in items]


def is_tokens(document: Any) -> bool:
    """Return whether a document is a list of token ids."""
    return isinstance(document, list) and bool(document) and isinstance(document[0], int) and not isinstance(document[0], bool)


def read_text(item: Any, fields: Fields, name: str) -> str | tuple[int, ...]:
    """Return a text or a tuple of token ids. Raises UsageError if an item of the field is something else."""
    if isinstance(item, str):
        return item
    if is_tokens(item) and all(isinstance(token, int) and not isinstance(token, bool) and 0 <= token < 2**31 for token in item):
        return tuple(item)
    problem = "must be a text, a list of token ids, or a list of either"
    raise UsageError(f"{fields.name(name)} {problem}", parameter=fields.name(name))


def _logprobs(fields: Fields) -> int | None:
    """The number of most probable tokens to report, None without log probabilities."""
    wanted, probs = fields.integer("logprobs", low=0, high=_MOST_TOP), fields.integer("n_probs", low=0, high=_MOST_TOP)
    return wanted if wanted is not None else probs or None
