"""Sampling and the limits of an answer, as OpenAI and llama-server name them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamacli.engine.params import GenerationParams, SamplingParams, sampling_numbers
from llamacli.errors import UsageError
from llamacli.openai.fields import Fields

MOST_CHOICES = 128
"""Answers to one prompt, as OpenAI limits `n`."""

MOST_STOPS = 64

_MOST_TOKENS = 1 << 31

Bias = tuple[int | str, float]

_TEXT_LISTS = ("samplers", "dry_sequence_breakers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The parameters of an answer. `biases` are still by id or text: `resolved` needs the model's vocabulary."""

    params: GenerationParams
    biases: tuple[Bias, ...] = ()

    def resolved(self, resolve: Callable[[Sequence[Bias]], tuple[tuple[int, float], ...]]) -> GenerationParams:
        """Return the parameters with biases by token id. Raises UsageError for an unknown token."""
        if not self.biases:
            return self.params
        try:
            ids = resolve(self.biases)
        except UsageError as error:
            raise UsageError(f"logit_bias: {error.message}", hint=error.hint, parameter="logit_bias") from error
        return dataclasses.replace(self.params, sampling=dataclasses.replace(self.params.sampling, logit_bias=ids))


def read_generation(
    fields: Fields, base: SamplingParams, *, limits: Sequence[str], default_limit: int | None, logprobs: int | None
) -> Generation:
    """Read sampling, `stop` and the limit of tokens, which has one of the names `limits`.

    Raises:
        UsageError: if a field has a wrong type or is out of range; `parameter` names it.
    """
    changed: dict[str, Any] = {}
    numbers = sampling_numbers()
    for name in fields.given(numbers):
        changed[name] = fields.integer(name) if numbers[name] is int else fields.number(name)
    if changed.get("seed", 0) < 0:
        changed["seed"] = None
    elif "seed" in changed:
        changed["seed"] %= 2**32
    if "ignore_eos" in fields:
        changed["ignore_eos"] = fields.flag("ignore_eos")
    for name in fields.given(_TEXT_LISTS):
        changed[name] = fields.texts(name)
    sampling = _changed(base, tuple(changed.items())) if changed else base
    stop = fields.texts("stop")
    if len(stop) > MOST_STOPS:
        raise fields.fault("stop", f"may hold at most {MOST_STOPS} texts")
    params = GenerationParams(
        max_tokens=_limit(fields, limits, default_limit),
        stop=stop,
        sampling=sampling,
        logprobs=logprobs,
        cache_prompt=fields.flag("cache_prompt", default=True),
    )
    return Generation(params=params, biases=_biases(fields))


@functools.lru_cache(maxsize=64)
def _changed(base: SamplingParams, changes: tuple[tuple[str, Any], ...]) -> SamplingParams:
    """The parameters with changes; most clients send the same ones each time. Raises UsageError."""
    return dataclasses.replace(base, **dict(changes))


def _limit(fields: Fields, names: Sequence[str], default: int | None) -> int | None:
    given = fields.given(names)
    values = {name: fields.integer(name, low=-1) for name in given}
    if len(set(values.values())) > 1:
        raise UsageError(f"{given[0]} and {given[1]} differ", parameter=given[0])
    if not given:
        return default
    value = values[given[0]]
    return None if value == -1 else value


def _biases(fields: Fields) -> tuple[Bias, ...]:
    """Biases as OpenAI's object of ids, or llama-server's list of [id or text, bias]; false forbids a token."""
    document = fields.value("logit_bias")
    if document is None:
        return ()
    if isinstance(document, Mapping):
        pairs: list[Any] = [[_token_id(fields, token), bias] for token, bias in document.items()]
    elif isinstance(document, list):
        pairs = document
    else:
        raise fields.fault("logit_bias", "must be an object of token ids and biases, or a list of pairs")
    found: list[Bias] = []
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], int | str)) or isinstance(pair[0], bool):
            raise fields.fault("logit_bias", "must hold pairs of a token's id or text and its bias")
        if isinstance(pair[0], int) and not 0 <= pair[0] < _MOST_TOKENS:
            raise fields.fault("logit_bias", f"has the token {pair[0]}, which no vocabulary has")
        found.append((pair[0], _bias(fields, pair[1])))
    return tuple(found)


def _token_id(fields: Fields, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise fields.fault("logit_bias", f"has the key {text[:40]!r}, which is not a token id")
    return int(text)


def _bias(fields: Fields, value: Any) -> float:
    if value is False:
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        raise fields.fault("logit_bias", "must hold numbers, or false to forbid a token")
    return float(value)
