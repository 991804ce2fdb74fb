"""The keyword arguments of llama-cpp-python, as the engine's parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from llamacli.api import values
from llamacli.engine.params import GenerationParams, SamplingParams, sampling_fields
from llamacli.errors import UsageError


class FurtherSampling(TypedDict, total=False):
    """The sampling arguments that have no position. `engine.params` declares what each one does.

    A `seed` that is negative or LLAMA_DEFAULT_SEED is a random one. `logit_bias` has token ids for keys.
    """

    seed: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repeat_last_n: int | None
    logit_bias: Mapping[int | str, float] | None
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
    mirostat_mode: int | None
    mirostat_eta: float | None
    mirostat_tau: float | None
    adaptive_target: float | None
    adaptive_decay: float | None


class SamplingKeywords(FurtherSampling, total=False):
    """The sampling arguments. One that is None or missing is the model's recommendation, or else llama.cpp's default."""

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    typical_p: float | None
    repeat_penalty: float | None


def sampling_params(base: SamplingParams, keywords: Mapping[str, Any]) -> SamplingParams:
    """The engine's parameters: `base` changed by the arguments of `SamplingKeywords`.

    Raises:
        TypeError: an argument is unknown.
        UsageError: a value is out of range.
    """
    names = {one.argument: one.name for one in sampling_fields().values()}
    unknown = keywords.keys() - names.keys()
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {min(unknown)!r}")
    given = {names[argument]: value for argument, value in keywords.items() if value is not None}
    if "seed" in given:
        given["seed"] = values.seed(given["seed"])
    if "logit_bias" in given:
        given["logit_bias"] = tuple((_token(key), float(bias)) for key, bias in given["logit_bias"].items())
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return dataclasses.replace(base, **given)


def generation(
    sampling: SamplingParams, *, max_tokens: int | None, stop: str | Sequence[str] | None, logprobs: int | None
) -> GenerationParams:
    """The limits of generation. `max_tokens` None or below 1 continues to the end of the context."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    return GenerationParams(
        max_tokens=max_tokens if max_tokens is not None and max_tokens > 0 else None,
        stop=stops,
        sampling=sampling,
        logprobs=logprobs,
    )


def _token(key: int | str) -> int:
    try:
        return int(key)
    except ValueError as error:
        raise UsageError(f"logit_bias: {key!r} is not a token id", parameter="logit_bias") from error
