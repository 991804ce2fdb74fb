"""From the keyword arguments that people know to the engine's parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from llamacli.api import values
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import UsageError

_OTHER_NAMES = {"mirostat_mode": "mirostat"}


class FurtherSampling(TypedDict, total=False):
    """How a token is chosen, beside what can be given by position too."""

    frequency_penalty: float | None
    presence_penalty: float | None
    mirostat_mode: int | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    seed: int | None
    logit_bias: Mapping[int | str, float] | None


class SamplingKeywords(FurtherSampling, total=False):
    """How a token is chosen. What is None or not given is the model's recommendation, or else llama.cpp's default.

    A `seed` that is negative or LLAMA_DEFAULT_SEED is a random one. `logit_bias` has token ids for keys.
    """

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    typical_p: float | None
    repeat_penalty: float | None


def sampling_params(base: SamplingParams, keywords: Mapping[str, Any]) -> SamplingParams:
    """The engine's parameters: `base` with what `SamplingKeywords` says.

    Raises:
        TypeError: a keyword that there is not.
        UsageError: values that make no sense.
    """
    unknown = keywords.keys() - SamplingKeywords.__annotations__.keys()
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {min(unknown)!r}")
    given = {_OTHER_NAMES.get(name, name): value for name, value in keywords.items() if value is not None}
    if "seed" in given:
        given["seed"] = values.seed(given["seed"])
    if given.get("logit_bias") is not None:
        given["logit_bias"] = tuple((_token(key), float(bias)) for key, bias in given["logit_bias"].items())
    return dataclasses.replace(base, **given)


def generation(
    sampling: SamplingParams, *, max_tokens: int | None, stop: str | Sequence[str] | None, logprobs: int | None
) -> GenerationParams:
    """When to end. `max_tokens` None or below 1 goes on to the end of the context."""
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
        raise UsageError(f"logit_bias takes token ids, not {key!r}") from error
