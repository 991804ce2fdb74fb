"""Log probabilities as OpenAI documents them, and the usage at the end of a stream."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llamacli import Llama

TEXT = "Once upon"


@pytest.fixture(scope="module")
def llm(tiny_model: Path) -> Iterator[Llama]:
    with Llama(tiny_model, n_ctx=256, n_threads=1, seed=1, logits_all=True) as llm:
        yield llm


def test_the_prompt_has_log_probabilities(llm: Llama) -> None:
    for limit in (0, 3):
        choice = llm(TEXT, max_tokens=limit, echo=True, logprobs=2, temperature=0)["choices"][0]
        found = choice["logprobs"]
        tokens = llm.tokenize(TEXT.encode())
        llm.reset()
        llm.eval(tokens)
        wanted = Llama.logits_to_logprobs(llm.scores)
        skip = int(tokens[0] == llm.token_bos())
        values = [wanted[place - 1][tokens[place]] for place in range(1, len(tokens))]
        own = found["token_logprobs"][: len(tokens) - skip]
        assert own[1 - skip :] == pytest.approx(values, abs=1e-3)
        assert skip or own[0] is None
        assert "".join(found["tokens"]) == choice["text"]
        places = [len("".join(found["tokens"][:count])) for count in range(len(found["tokens"]))]
        assert found["text_offset"] == places
        assert (choice["text"] == TEXT) == (limit == 0)


def test_the_sampled_token_is_among_the_most_probable(llm: Llama) -> None:
    found = llm("Hello", max_tokens=8, logprobs=1, temperature=3.0)["choices"][0]["logprobs"]
    assert found["text_offset"][0] == len("Hello")
    for token, logprob, top in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
        assert top[token] == logprob
        assert 1 <= len(top) <= 2


def test_streams_have_the_same(llm: Llama) -> None:
    options = {"max_tokens": 3, "echo": True, "logprobs": 1, "temperature": 0}
    whole = llm(TEXT, **options)["choices"][0]["logprobs"]
    *chunks, last = [chunk["choices"][0]["logprobs"] for chunk in llm(TEXT, stream=True, **options)]
    for name in ("tokens", "text_offset", "token_logprobs"):
        joined = [one for chunk in (last, *chunks) if chunk for one in chunk[name]]
        assert joined == whole[name] or np.allclose([one or 0 for one in joined], [one or 0 for one in whole[name]], atol=1e-4)


def test_chats_have_bytes(llm: Llama) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    answer = llm.create_chat_completion(messages, max_tokens=3, logprobs=True, top_logprobs=2)
    for token in answer["choices"][0]["logprobs"]["content"]:
        assert bytes(token["bytes"]).decode("utf-8", "replace") == token["token"]
        assert len(token["top_logprobs"]) == 2
        assert math.isfinite(token["logprob"])


@pytest.mark.parametrize("is_chat", [True, False])
def test_usage_at_the_end_of_a_stream(llm: Llama, is_chat: bool) -> None:
    options = {"max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}
    messages = [{"role": "user", "content": "Hi"}]
    *chunks, last = llm.create_chat_completion(messages, **options) if is_chat else llm("Hi", **options)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"] > 0
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)
