"""The parameters of sampling: their defaults, ranges and descriptions."""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, Literal

from llamacli.errors import UsageError
from llamacli.values import dataclass

SAMPLER_NAMES = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature", "adaptive_p", "infill",
)  # fmt: skip
"""The samplers that a chain can hold, by llama.cpp's names."""

DEFAULT_SAMPLERS = ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")

LARGEST_INT = 2**31 - 1
_LARGEST_FLOAT = 3.4e38  # of a C float; comparisons with it are false for nan, too


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from `low` to `high`, both included; `words` describe them in messages."""

    low: float
    high: float
    words: str


_INDEX = Range(-1, LARGEST_INT, f"from -1 to {LARGEST_INT}")


def _sampling(default: object, help: str, *, range: Range | None = None, argument: str | None = None) -> Any:  # noqa: A002
    """Declare a field of SamplingParams: see `SamplingField`."""
    return field(default=default, metadata={"help": help, "range": range, "argument": argument})


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """The parameters of sampling. Each field is declared here once; see `sampling_fields` for what derives from it.

    `temperature` <= 0 is greedy. `seed` None draws one from the system. `samplers` is the order of the chain. `logit_bias`
    holds (token id, bias) pairs; -inf forbids a token.
    """

    temperature: float = _sampling(0.8, "Randomness; 0 or less always takes the most probable token.")
    seed: int | None = _sampling(
        None,
        "Seed of the random numbers; the same seed gives the same text.",
        range=Range(0, 2**32 - 1, "from 0 to 4294967295"),
    )
    top_k: int = _sampling(40, "Keep only the K most probable tokens; 0 keeps all.", range=_INDEX)
    top_p: float = _sampling(0.95, "Keep the most probable tokens up to this total probability; 1 keeps all.")
    min_p: float = _sampling(0.05, "Keep tokens with at least this share of the top token's probability; 0 keeps all.")
    repeat_penalty: float = _sampling(
        1.0, "Penalty for repeated tokens; 1 disables.", range=Range(1e-30, math.inf, "greater than 0")
    )
    repeat_last_n: int = _sampling(64, "Number of last tokens that penalties look at; -1 is the whole context.", range=_INDEX)
    presence_penalty: float = _sampling(0.0, "Penalty for tokens that occurred at all; 0 disables.")
    frequency_penalty: float = _sampling(0.0, "Penalty for each time that a token occurred; 0 disables.")
    logit_bias: tuple[tuple[int, float], ...] = _sampling(
        (), "Make a token, by its id or text, likelier (cat=1), less likely (15043=-1) or impossible (cat=false)."
    )
    ignore_eos: bool = _sampling(False, "Continue where the model would end the answer.")
    samplers: tuple[str, ...] = _sampling(DEFAULT_SAMPLERS, "Samplers of the chain, in order.")
    typical_p: float = _sampling(1.0, "Locally typical sampling; 1 disables.")
    top_n_sigma: float = _sampling(-1.0, "Keep tokens whose logit is within N standard deviations of the highest; -1 disables.")
    min_keep: int = _sampling(0, "Number of tokens that every filter keeps at least.", range=_INDEX)
    dynatemp_range: float = _sampling(0.0, "Range of dynamic temperature; 0 disables.")
    dynatemp_exponent: float = _sampling(1.0, "Exponent of dynamic temperature.")
    xtc_probability: float = _sampling(0.0, "Probability that XTC removes the top tokens; 0 disables.")
    xtc_threshold: float = _sampling(0.1, "Probability from which XTC removes tokens.")
    dry_multiplier: float = _sampling(0.0, "Multiplier of DRY's penalty for repeated phrases; 0 disables.")
    dry_base: float = _sampling(1.75, "Base of DRY's penalty, which grows with the length of the phrase.")
    dry_allowed_length: int = _sampling(2, "Length in tokens of the phrases that DRY lets repeat.", range=_INDEX)
    dry_penalty_last_n: int = _sampling(64, "Number of last tokens that DRY looks at; -1 is the whole context.", range=_INDEX)
    dry_sequence_breakers: tuple[str, ...] = _sampling(("\n", ":", '"', "*"), "Text that ends a phrase for DRY.")
    mirostat: Literal[0, 1, 2] = _sampling(0, "Use Mirostat 1 or 2 in place of the other samplers.", argument="mirostat_mode")
    mirostat_eta: float = _sampling(0.1, "Learning rate of Mirostat (eta).")
    mirostat_tau: float = _sampling(5.0, "Target entropy of Mirostat (tau).")
    adaptive_target: float = _sampling(-1.0, "Target probability of adaptive-p; below 0 disables.")
    adaptive_decay: float = _sampling(
        0.9, "Decay of adaptive-p's average, from 0 to 0.99; higher adapts more slowly.", range=Range(0, 0.99, "from 0 to 0.99")
    )

    def __post_init__(self) -> None:
        for name, allowed in _sampling_ranges():  # several times for each request
            value = getattr(self, name)
            if isinstance(value, float) and not abs(value) < _LARGEST_FLOAT:
                raise UsageError(f"{name} must be a finite number", parameter=name)
            if allowed is not None and value is not None and not allowed.low <= value <= allowed.high:
                raise UsageError(f"{name} must be {allowed.words}", parameter=name)
        require(self.mirostat in (0, 1, 2), "mirostat", "must be 0, 1 or 2")
        require(all(bias < _LARGEST_FLOAT for _, bias in self.logit_bias), "logit_bias", "must hold numbers, or -inf")
        unknown = [name for name in self.samplers if name not in SAMPLER_NAMES]
        if unknown:
            known = ", ".join(SAMPLER_NAMES)
            raise UsageError(f"unknown sampler {', '.join(unknown)}; known are {known}", parameter="samplers")


@functools.cache
def _sampling_ranges() -> tuple[tuple[str, Range | None], ...]:
    """The names of the fields of SamplingParams, with what their numbers may be."""
    return tuple((one.name, one.metadata["range"]) for one in fields(SamplingParams))


@dataclass(frozen=True, slots=True)
class SamplingField:
    """One field of SamplingParams, as its declaration describes it.

    `name` is also llama-server's JSON key, and the key in a row of a batch; `argument` is its name in llama-cpp-python.
    `annotation` is its type, `number` int or float if it is a number, else None.
    """

    name: str
    argument: str
    help: str
    default: object
    annotation: Any
    number: type[int | float] | None


@functools.cache
def sampling_fields() -> Mapping[str, SamplingField]:
    """The fields of SamplingParams by name. Options, the keys of rows and the arguments of the Python API derive from these."""
    hints = typing.get_type_hints(SamplingParams)
    return {
        one.name: SamplingField(
            name=one.name,
            argument=one.metadata["argument"] or one.name,
            help=one.metadata["help"],
            default=one.default,
            annotation=hints[one.name],
            number=_number(hints[one.name]),
        )
        for one in fields(SamplingParams)
    }


@functools.cache
def sampling_numbers() -> Mapping[str, type[int | float]]:
    """The fields of SamplingParams that are numbers, with their type: the keys that a row or a request may set."""
    return {name: one.number for name, one in sampling_fields().items() if one.number is not None}


def require(condition: bool, parameter: str, problem: str) -> None:
    """Raise UsageError that names the parameter unless the condition holds."""
    if not condition:
        raise UsageError(f"{parameter} {problem}", parameter=parameter)


def _number(annotation: Any) -> type[int | float] | None:
    """The type of number that an annotation allows, None beside it or not."""
    parts = [one for one in typing.get_args(annotation) or (annotation,) if one is not types.NoneType]
    if typing.get_origin(annotation) is Literal:
        return int if all(isinstance(one, int) for one in parts) else None
    return parts[0] if parts[0] in (int, float) else None
