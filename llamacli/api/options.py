"""From the keyword arguments that people know to the engine's parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import UsageError

_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_penalty": "repeat_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "mirostat_mode": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
    "seed": "seed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling as keyword arguments; None is the model's recommendation, or else llama.cpp's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    mirostat_mode: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    seed: int | None = None
    logit_bias: Mapping[int | str, float] | None = None

    def params(self, base: SamplingParams) -> SamplingParams:
        """The engine's parameters. A negative seed means a random one.

        Raises:
            UsageError: values that make no sense.
        """
        given = {_NAMES[name]: getattr(self, name) for name in _NAMES if getattr(self, name) is not None}
        if given.get("seed", 0) < 0:
            given["seed"] = None
        if self.logit_bias:
            given["logit_bias"] = tuple((_token(key), float(bias)) for key, bias in self.logit_bias.items())
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
