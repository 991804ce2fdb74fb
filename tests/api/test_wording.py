"""Messages of the Python API name its arguments, not the command line's options."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamacli import Llama
from llamacli.api import wording
from llamacli.api.completion import Completions
from llamacli.errors import LlamacliError


def test_the_examples_in_the_docstrings() -> None:
    result = doctest.testmod(wording)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-c must be from 0 to 2147483647", "n_ctx must be from 0 to 2147483647"),
        ("-ngl must be auto, all or a number from 0", "n_gpu_layers must be None, -1 or a number from 0"),
        ("give one with --chat-template, or use --raw", "give one with chat_format, or use create_completion"),
        ("a smaller -ub or -c needs less", "a smaller n_ubatch or n_ctx needs less"),
        ("try other -fa, -ctk and -ctv", "try other flash_attn, type_k and type_v"),
        ("the file may be damaged; try --check-tensors, or -fa off", "the file may be damaged; try flash_attn='off'"),
        ("temperature must be from -1 to -inf, in a left-c or x-c.gguf", None),
        ("use --unknown-option", None),
    ],
)
def test_options_become_arguments(text: str, expected: str | None) -> None:
    assert wording.reworded(text) == (expected or text)


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
        (lambda llm: llm.create_chat_completion([{"role": "user", "content": "Hello"}]), "chat_format"),
        (lambda llm: Llama(llm.model_path, n_ctx=-5), "n_ctx must"),
        (lambda llm: Llama(llm.model_path, n_gpu_layers=-5), "n_gpu_layers must"),
        (lambda llm: Llama(llm.model_path, tensor_split=[1] * 50), "tensor_split names"),
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
