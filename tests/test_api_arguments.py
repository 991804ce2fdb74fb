"""What may be given to the Python API, and how it says that something else was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamacli import Llama
from llamacli.errors import UsageError


@pytest.fixture(scope="module")
def llm(tiny_model: Path) -> Iterator[Llama]:
    with Llama(tiny_model, n_ctx=256, n_threads=1, seed=1) as llm:
        yield llm


TOKENS = [77, 78, 79]


@pytest.mark.parametrize(
    "prompt", [TOKENS, tuple(TOKENS), np.array(TOKENS), np.array(TOKENS, dtype=np.int32), [np.int32(token) for token in TOKENS]]
)
def test_token_ids_of_any_kind(llm: Llama, prompt: Any) -> None:
    answer = llm(prompt, max_tokens=2, temperature=0)
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["choices"][0]["text"] == llm(TOKENS, max_tokens=2, temperature=0)["choices"][0]["text"]
    llm.reset()
    llm.eval(prompt)
    assert llm.n_tokens == 3
    assert llm.detokenize(prompt) == llm.detokenize(TOKENS)


@pytest.mark.parametrize("prompt", [[[77], [78, 79]], np.array([[77, 78], [79, 80]]), ["a text", [77, 78]]])
def test_several_prompts_of_tokens(llm: Llama, prompt: Any) -> None:
    together = llm(prompt, max_tokens=2, temperature=0)["choices"]
    assert [choice["text"] for choice in together] == [
        llm(each, max_tokens=2, temperature=0)["choices"][0]["text"] for each in prompt
    ]


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ([77, 2.7, 78], r"prompt\[1\] is 2\.7"),
        ([1.0, 2.0], r"prompt\[0\] is 1\.0"),
        (np.array([1.0]), r"prompt\[0\]"),
        ([[77], [78, None]], r"prompt\[1\]\[1\] is None"),
        (["text", 3], r"prompt\[1\] is 3"),
        (b"text", "bytes"),
        (None, "NoneType"),
        (5, "int"),
        ([b"text"], r"prompt\[0\] is of type bytes"),
    ],
)
def test_other_prompts_are_named(llm: Llama, prompt: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        llm(prompt, max_tokens=1)


@pytest.mark.parametrize("method", ["eval", "generate", "detokenize"])
def test_other_tokens_are_named(llm: Llama, method: str) -> None:
    call: Callable[[Any], Any] = getattr(llm, method)
    with pytest.raises(UsageError, match=r"tokens\[1\] is 2\.7"):
        call([77, 2.7])
    with pytest.raises(UsageError, match="tokens is of type str"):
        call("text")
