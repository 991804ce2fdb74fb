"""The engine's parameters: what is out of range names its parameter, and sampling fields are declared once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest

from llamacli.engine.params import (
    ContextParams,
    GenerationParams,
    LoraAdapter,
    ModelParams,
    SamplingParams,
    sampling_fields,
    sampling_numbers,
)
from llamacli.errors import UsageError

OUT_OF_RANGE = [
    (lambda: ModelParams(gpu_layers=-2), "gpu_layers", "must be None, -1 or a number from 0"),
    (lambda: ModelParams(tensor_split=(1.0, -1.0)), "tensor_split", "must hold numbers from 0"),
    (lambda: ModelParams(loras=(LoraAdapter(path="x", scale=float("inf")),)), "loras", "must have finite scales"),
    (lambda: ContextParams(n_ctx=-1), "n_ctx", "must be from 0 to 2147483647"),
    (lambda: ContextParams(n_batch=0), "n_batch", "must be at least 1"),
    (lambda: ContextParams(n_ubatch=2**31), "n_ubatch", "must be at most 2147483647"),
    (lambda: ContextParams(n_seq_max=257), "n_seq_max", "must be from 1 to 256"),
    (lambda: ContextParams(threads=0), "threads", "must be from 1 to 512"),
    (lambda: ContextParams(threads_batch=513), "threads_batch", "must be from 1 to 512"),
    (lambda: SamplingParams(seed=2**32), "seed", "must be from 0 to 4294967295"),
    (lambda: SamplingParams(top_k=-2), "top_k", "must be from -1 to 2147483647"),
    (lambda: SamplingParams(temperature=float("nan")), "temperature", "must be a finite number"),
    (lambda: SamplingParams(repeat_penalty=0), "repeat_penalty", "must be greater than 0"),
    (lambda: SamplingParams(adaptive_decay=1.0), "adaptive_decay", "must be from 0 to 0.99"),
    (lambda: SamplingParams(mirostat=3), "mirostat", "must be 0, 1 or 2"),
    (lambda: SamplingParams(logit_bias=((1, float("nan")),)), "logit_bias", "must hold numbers, or -inf"),
    (lambda: GenerationParams(max_tokens=-1), "max_tokens", "must be a number from 0, or -1 for no limit"),
    (lambda: GenerationParams(logprobs=1001), "logprobs", "must be from 0 to 1000"),
    (lambda: GenerationParams(stop=("a", "")), "stop", "must not be an empty string"),
]


@pytest.mark.parametrize(("make", "parameter", "problem"), OUT_OF_RANGE)
def test_an_error_names_its_parameter(make: Callable[[], object], parameter: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert (caught.value.message, caught.value.parameter) == (f"{parameter} {problem}", parameter)


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(UsageError, match=r"^unknown sampler top_q; known are penalties, ") as caught:
        SamplingParams(samplers=("top_k", "top_q"))
    assert caught.value.parameter == "samplers"


def test_every_sampling_field_is_declared_with_help() -> None:
    declared = sampling_fields()
    assert list(declared) == [field.name for field in fields(SamplingParams)]
    for name, one in declared.items():
        assert one.help.endswith("."), name
        assert one.default == getattr(SamplingParams(), name)


def test_the_numbers_among_the_sampling_fields() -> None:
    numbers = sampling_numbers()
    assert (numbers["temperature"], numbers["seed"], numbers["mirostat"]) == (float, int, int)
    assert set(sampling_fields()) - set(numbers) == {"logit_bias", "ignore_eos", "samplers", "dry_sequence_breakers"}
