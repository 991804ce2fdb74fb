"""The keyword arguments of llama-cpp-python, as the engine's parameters."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

from llamacli.api.arguments import values
from llamacli.api.callables import LogitsProcessor, StoppingCriteria
from llamacli.api.chat.handlers import stops_of
from llamacli.api.grammar import LlamaGrammar
from llamacli.engine.params import GenerationParams, SamplingParams, sampling_fields
from llamacli.errors import UsageError


class FurtherSampling(TypedDict, total=False):
    """The sampling arguments without a position in llama-cpp-python. `engine.params` declares what each one does."""

    repeat_last_n: int | None
    ignore_eos: bool | None
    samplers: Sequence[str] | None
    top_n_sigma: float | None
    min_keep: int | None
    dynatemp_range: float | None
    dynatemp_exponent: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_penalty_last_n: int | None
    dry_sequence_breakers: Sequence[str] | None
    adaptive_target: float | None
    adaptive_decay: float | None


class SamplingKeywords(FurtherSampling, total=False):
    """The sampling arguments. One that is None or missing is the model's recommendation, or else llama.cpp's default.

    A `seed` that is negative or LLAMA_DEFAULT_SEED is a random one. `logit_bias` has token ids for keys. `tfs_z` has
    no effect any more.
    """

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    typical_p: float | None
    seed: int | None
    repeat_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    mirostat_mode: int | None
    mirostat_eta: float | None
    mirostat_tau: float | None
    tfs_z: float | None


class CompletionKeywords(SamplingKeywords, total=False):
    """The keyword arguments of `create_completion`."""

    logprobs: int | None
    echo: bool
    stop: str | Sequence[str] | None
    model: str | None
    stopping_criteria: StoppingCriteria | Sequence[StoppingCriteria] | None
    logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None
    grammar: LlamaGrammar | str | None
    stream_options: Mapping[str, Any] | None


class ChatKeywords(SamplingKeywords, total=False):
    """The keyword arguments of `create_chat_completion`. Messages, tools and formats have OpenAI's form."""

    functions: Sequence[Any] | None
    function_call: Any
    tools: Sequence[Any] | None
    tool_choice: Any
    parallel_tool_calls: bool
    response_format: Any
    stop: str | Sequence[str] | None
    max_tokens: int | None
    model: str | None
    stopping_criteria: StoppingCriteria | Sequence[StoppingCriteria] | None
    logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None
    grammar: LlamaGrammar | str | None
    logprobs: bool | None
    top_logprobs: int | None
    stream_options: Mapping[str, Any] | None


_OBSOLETE: Final = {"tfs_z": "llama.cpp has no tail-free sampling any more", "penalize_nl": "newlines are tokens like others"}
"""Arguments without an effect, and why; their defaults mean nothing, too."""
_OBSOLETE_DEFAULTS: Final = {"tfs_z": 1.0, "penalize_nl": True}
_PACKAGE: Final = "llamacli."


def sampling_keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call that are about sampling: its own ones, and those of `FurtherSampling` in `further`."""
    names = {one.argument for one in sampling_fields().values()} | _OBSOLETE.keys()
    return {**given["further"], **{name: value for name, value in given.items() if name in names}}


def sampling_params(base: SamplingParams, keywords: Mapping[str, Any]) -> SamplingParams:
    """The engine's parameters: `base` changed by the arguments of `SamplingKeywords`.

    Raises:
        TypeError: an argument is unknown.
        UsageError: a value is out of range.
    """
    names = {one.argument: one.name for one in sampling_fields().values()}
    unknown = keywords.keys() - names.keys() - _OBSOLETE.keys()
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {min(unknown)!r}")
    given = {argument: value for argument, value in keywords.items() if value is not None}
    for name, reason in _OBSOLETE.items():
        if given.pop(name, _OBSOLETE_DEFAULTS[name]) != _OBSOLETE_DEFAULTS[name]:
            warn_obsolete(name, reason)
    given = {names[argument]: _checked(argument, names[argument], value) for argument, value in given.items()}
    return dataclasses.replace(base, **given)


def warn_obsolete(name: str, reason: str) -> None:
    """Warn of an argument without an effect, at the first line outside this package that led here."""
    frame, level = sys._getframe(), 1  # noqa: SLF001 - `skip_file_prefixes` needs Python 3.12
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{name} has no effect: {reason}", DeprecationWarning, stacklevel=level)


def _checked(argument: str, name: str, value: Any) -> Any:
    """Return a value of the type that the engine's parameter has."""
    if argument == "seed":
        return values.seed(value)
    if argument == "logit_bias":
        return tuple((_token(key), values.number(argument, bias)) for key, bias in value.items())
    number = sampling_fields()[name].number
    if number is int:
        return values.whole(argument, value)
    if number is float:
        return values.number(argument, value)
    return tuple(value) if isinstance(value, list) else value


def generation(
    sampling: SamplingParams,
    *,
    max_tokens: int | None,
    stop: str | Sequence[str] | None,
    logprobs: int | None,
    echo: bool = False,
) -> GenerationParams:
    """The limits of generation. `max_tokens` None or below 1 continues to the end of the context; 0 makes no token with
    `echo`, which with `logprobs` is for the log probabilities of the prompt.
    """
    limit = values.whole_or_none("max_tokens", max_tokens)
    if not (limit == 0 and echo):
        limit = limit if limit is not None and limit > 0 else None
    return GenerationParams(
        max_tokens=limit,
        stop=stops_of(stop),
        sampling=sampling,
        logprobs=values.whole_or_none("logprobs", logprobs),
        score_prompt=echo and logprobs is not None,
    )


def _token(key: int | str) -> int:
    try:
        return int(key)
    except (TypeError, ValueError) as error:
        raise UsageError(f"logit_bias: {key!r} is not a token id", parameter="logit_bias") from error
