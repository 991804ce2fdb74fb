"""Requests whose rest was read before: the same as read whole, with their own prompt, and refused for the same reasons."""

from __future__ import annotations

from typing import Any

import pytest

from llamacli.engine.params import SamplingParams
from llamacli.errors import UsageError
from llamacli.openai import chat_request, text_request
from llamacli.openai.chat_request import CompletionRequest
from llamacli.openai.repeated import without_prompt

BASE = SamplingParams(temperature=0.3)

RESTS: list[dict[str, Any]] = [
    {},
    {"max_tokens": 5, "temperature": 0, "stop": ["a", "b"], "seed": 3},
    {"max_tokens": 5.0, "logit_bias": {"7": -1}, "n": 2, "user": "somebody"},
    {"stream": True, "stream_options": {"include_usage": True}, "top_k": 7, "logprobs": None},
    {"grammar": 'root ::= "x"'},
]


def texts(prompt: Any, rest: dict[str, Any]) -> tuple[CompletionRequest, CompletionRequest]:
    document = {"prompt": prompt, **rest}
    return text_request.read_completion(document, BASE), text_request._read_completion(document, BASE)


def chats(prompt: Any, rest: dict[str, Any]) -> tuple[CompletionRequest, CompletionRequest]:
    document = {"messages": [{"role": "user", "content": prompt}], **rest}
    return chat_request.read_chat(document, BASE), chat_request._read_chat(document, BASE)


@pytest.mark.parametrize("read", [texts, chats])
@pytest.mark.parametrize("rest", RESTS)
def test_a_request_is_the_same_whether_its_rest_was_read_before(read: Any, rest: dict[str, Any]) -> None:
    for prompt in ("Hello", "", "другой"):
        known, whole = read(prompt, rest)
        assert known == whole


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({"max_tokens": 1}, {"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1}, {"max_tokens": 1, "promt": 2}, "promt"),
        ({"n": 1}, {"n": 1.5}, "n"),
        ({"temperature": None}, {"temperature": float("inf")}, "temperature"),
    ],
)
@pytest.mark.parametrize("read", [texts, chats])
def test_what_is_refused_is_not_what_was_read_before(read: Any, first: Any, second: Any, named: str) -> None:
    read("Hello", first)
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            read("Hello", second)
        assert caught.value.parameter == named


@pytest.mark.parametrize("read", [texts, chats])
def test_a_prompt_is_checked_each_time(read: Any) -> None:
    read("Hello", {})
    with pytest.raises(UsageError, match="surrogate"):
        read("\ud800", {})


def test_a_prompt_is_named_if_it_is_missing() -> None:
    for read, name in ((text_request.read_completion, "prompt"), (chat_request.read_chat, "messages")):
        with pytest.raises(UsageError) as caught:
            read({"max_tokens": 1}, BASE)
        assert caught.value.parameter == name


def test_large_requests_and_schemas_are_not_remembered() -> None:
    assert without_prompt({"prompt": "x", "user": "y" * 4000}, "prompt", "") is None
    assert without_prompt({"prompt": "x", "tools": []}, "prompt", "") is None
    assert without_prompt({"prompt": "x", "user": "\ud800"}, "prompt", "") is None
    assert without_prompt([], "prompt", "") is None
