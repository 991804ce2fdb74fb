"""Errors of the Python API name its arguments, not the engine's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamacli import Llama
from llamacli.api.arguments.names import argument_names
from llamacli.api.calls.completion import Completions
from llamacli.errors import LlamacliError, UsageError


@pytest.mark.parametrize(
    ("parameter", "message", "hint", "expected"),
    [
        (
            "n_ctx",
            "the KV cache is full",
            "use n_ctx=768 or cache_type_k=q8_0",
            "the KV cache is full (use n_ctx=768 or type_k=q8_0)",
        ),
        ("gpu_layers", "gpu_layers must be -1 or more", None, "n_gpu_layers must be -1 or more"),
        ("threads", "threads must be from 1 to 512", None, "n_threads must be from 1 to 512"),
        ("threads", "threads", "or threads_batch", "n_threads (or n_threads_batch)"),
        ("n_batch", "n_batch needs threads", None, "n_batch needs threads"),
        (None, "the file gpu_layers is missing", None, "the file gpu_layers is missing"),
    ],
)
def test_parameters_become_arguments(parameter: str | None, message: str, hint: str | None, expected: str) -> None:
    with pytest.raises(UsageError) as caught, argument_names():
        raise UsageError(message, hint=hint, parameter=parameter)
    assert str(caught.value) == expected
    assert caught.value.args == (caught.value.message,)


@pytest.fixture(scope="module")
def base_llm(tiny_base_model: Path) -> Any:
    with Llama(tiny_base_model, n_ctx=256, n_threads=1) as llm:
        yield llm


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda llm: llm([[1], [1] * 300]), "n_ctx="),
        (lambda llm: llm([1] * 300), "n_ctx="),
        (lambda llm: list(llm([1] * 300, stream=True)), "n_ctx="),
        (lambda llm: llm("Hello", repeat_penalty=0), "repeat_penalty must"),
        (lambda llm: llm("Hello", mirostat_mode=7), "mirostat_mode must"),
        (lambda llm: llm.sample(repeat_penalty=0), "repeat_penalty must"),
        (lambda llm: llm.generate([1], repeat_penalty=0), "repeat_penalty must"),
        (lambda llm: llm("Hello", max_tokens=2.5), "max_tokens must be an integer, not 2.5"),
        (lambda llm: llm("Hello", stop=5), "stop must be"),
        (lambda llm: llm("Hello", stop=["a", 5]), "stop must be"),
        (lambda llm: llm("Hello", temperature="hot"), "temperature must be a number"),
        (lambda llm: llm.create_chat_completion("Hello"), "messages must be a list"),
        (lambda llm: Llama(llm.model_path, kv_overrides={"a": None}), "kv_overrides"),
        (lambda llm: Llama(llm.model_path, numa=9), "numa must"),
        (lambda llm: Llama(llm.model_path, n_ctx=-5), "n_ctx must"),
        (lambda llm: Llama(llm.model_path, n_gpu_layers=-5), "n_gpu_layers must"),
        (lambda llm: Llama(llm.model_path, tensor_split=[1] * 50), "tensor_split has"),
    ],
)
def test_errors_name_arguments(base_llm: Llama, call: Callable[[Llama], object], named: str) -> None:
    with pytest.raises(LlamacliError) as caught:
        call(base_llm)
    assert named in str(caught.value)
    assert caught.value.args == (caught.value.message,)


@pytest.mark.parametrize("name", ["create_completion", "__call__", "create_chat_completion"])
def test_the_signatures_stay(name: str) -> None:
    assert inspect.signature(getattr(Llama, name)) == inspect.signature(getattr(Completions, name))
    assert inspect.getdoc(getattr(Llama, name)) == inspect.getdoc(getattr(Completions, name))
