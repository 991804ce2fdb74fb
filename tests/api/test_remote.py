"""`Llama(url=...)`: the same answers from a server, and clear errors for what only a model here can do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from odd_server import Script, answered, odd_server
from serving import LiveServer, serving, spec_of

from llamacli import Llama
from llamacli.api.remote import RemoteLlama
from llamacli.backend.remote.client import Client
from llamacli.errors import ClosedError, ConstraintError, ModelNotFoundError, RemoteError, UsageError

GREEDY: dict[str, Any] = {"max_tokens": 6, "temperature": 0.0}
CHAT = [{"role": "user", "content": "Hello"}]
FORMAT = {"type": "json_object", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model, n_ctx=512)) as live:
        yield live


@pytest.fixture(scope="module")
def pair(tiny_model: Path, server: LiveServer) -> Iterator[tuple[Llama, RemoteLlama]]:
    with Llama(tiny_model, n_ctx=512, n_threads=1) as here, Llama(url=server.base) as there:
        assert isinstance(there, RemoteLlama)
        yield here, there


def text_of(document: Any) -> str:
    return str(document["choices"][0]["text"])


def test_the_answers_are_the_same(pair: tuple[Llama, RemoteLlama]) -> None:
    here, there = pair
    assert text_of(there("Hello", **GREEDY)) == text_of(here("Hello", **GREEDY))
    answers = [one.create_chat_completion(CHAT, **GREEDY)["choices"][0]["message"] for one in pair]
    assert answers[0] == answers[1]
    texts = [[choice["text"] for choice in one(["Hello", "a fox"], **GREEDY)["choices"]] for one in pair]
    assert texts[0] == texts[1]
    tokens = here.tokenize("Hello")
    assert there.tokenize(b"Hello") == tokens
    assert text_of(there(tokens, **GREEDY)) == text_of(here(tokens, **GREEDY))
    assert there.detokenize(tokens[-2:], prev_tokens=tokens[:-2]) == here.detokenize(tokens[-2:], prev_tokens=tokens[:-2])
    assert (there.n_vocab(), there.n_ctx()) == (here.n_vocab(), here.n_ctx())


def test_streams_constraints_and_tools(pair: tuple[Llama, RemoteLlama]) -> None:
    here, there = pair
    streamed = "".join(text_of(chunk) for chunk in there("Hello", stream=True, **GREEDY))
    assert streamed == text_of(here("Hello", **GREEDY))
    assert text_of(there("Hello", grammar='root ::= "yes"', max_tokens=20)) == "yes"
    answer = there.create_chat_completion(CHAT, response_format=FORMAT, max_tokens=60)["choices"][0]
    if answer["finish_reason"] == "stop":
        assert isinstance(json.loads(answer["message"]["content"])["a"], int)
    called = there.create_chat_completion(CHAT, tools=TOOLS, tool_choice="required", max_tokens=80)["choices"][0]["message"]
    assert called["tool_calls"][0]["function"]["name"] == "now"
    logprobs = there.create_chat_completion(CHAT, logprobs=True, top_logprobs=2, **GREEDY)["choices"][0]["logprobs"]
    assert len(logprobs["content"][0]["top_logprobs"]) == 2


def test_vectors_are_those_of_the_model_here(tiny_embedding_model: Path) -> None:
    with (
        serving(spec_of(tiny_embedding_model, n_ctx=64)) as live,
        Llama(tiny_embedding_model, embedding=True, n_threads=1) as here,
        Llama(url=live.base) as there,
    ):
        for one, other in zip(here.embed(["a fox", "a"], True), there.embed(["a fox", "a"], True), strict=True):
            assert other == pytest.approx(one, abs=1e-5)
        assert there.create_embedding("a fox")["data"][0]["embedding"] == pytest.approx(here.embed("a fox", True), abs=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda llm: llm.eval([1]), lambda llm: llm.logits(), lambda llm: llm.save_state(), lambda llm: llm.ctx,
        lambda llm: llm.metadata, lambda llm: llm.n_tokens, lambda llm: llm.token_eos(), lambda llm: next(llm.generate([1])),
        lambda llm: llm("x", logits_processor=lambda tokens, logits: logits), lambda llm: llm("x", echo=True, logprobs=1),
        lambda llm: llm("x", stopping_criteria=lambda tokens, logits: True), lambda llm: llm([1], suffix="y"),
    ],
)  # fmt: skip
def test_what_needs_the_model_here_says_so(pair: tuple[Llama, RemoteLlama], call: Any) -> None:
    with pytest.raises(UsageError):
        call(pair[1])


def test_what_a_server_cannot_do_is_an_error_before_the_answer() -> None:
    script = Script([answered("Hi.")])
    with odd_server(script) as address, Llama(url=address) as llm:
        assert llm.create_chat_completion(CHAT, temperature=0.5)["choices"][0]["message"]["content"] == "Hi."
        assert "top_k" not in script.posts[0].document
        for arguments in ({"top_k": 5}, {"grammar": 'root ::= "x"'}):
            with pytest.raises(UsageError, match="cannot use"):
                llm.create_chat_completion(CHAT, **arguments)
        with pytest.raises(ConstraintError):
            llm.create_chat_completion(CHAT, response_format=FORMAT)
        assert script.posts[-1].document["response_format"]["json_schema"]["schema"] == FORMAT["schema"]


def test_errors_when_it_is_built(server: LiveServer) -> None:
    with pytest.raises(UsageError, match="n_ctx"):
        Llama(url=server.base, n_ctx=5)
    with pytest.raises(UsageError, match="no server"):
        Llama(url=[])
    for wrong in (5, b"http://127.0.0.1:1", [None], {"a": 1}):
        with pytest.raises(UsageError, match="url must be the address"):
            Llama(url=cast("str", wrong))
    with pytest.raises(RemoteError):
        Llama(url="http://127.0.0.1:1")
    with pytest.raises(UsageError, match="key"):
        Llama(url="http://198.51.100.7", key="env:HOME")
    with pytest.raises(UsageError, match="model_path"):
        Llama()


def test_it_is_pickled_as_its_arguments_and_closed(server: LiveServer) -> None:
    with Llama(url=server.base) as llm:
        again = pickle.loads(pickle.dumps(llm))
        assert isinstance(again, RemoteLlama)
        again.close()
        again.close()
        with pytest.raises(ClosedError):
            again("Hello")


def test_several_servers_share_prompts(server: LiveServer) -> None:
    script = Script([answered("Hi.")])
    with odd_server(script) as other, Llama(url=[other, other + "/"]) as llm:
        texts = [choice["text"] for choice in llm(["one", "two", "three"], **GREEDY)["choices"]]
    assert len(texts) == 3
    assert len(script.posts) == 3
    with pytest.raises(ModelNotFoundError), odd_server(Script(models=None)) as empty:
        Llama(url=empty)


@pytest.mark.parametrize(("has_model", "seed", "error"), [(False, 1, ModelNotFoundError), (True, "x", UsageError)])
def test_connections_are_closed_when_making_fails(
    has_model: bool, seed: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, close = [], Client.close

    def noting(client: Client) -> None:
        closed.append(client)
        close(client)

    monkeypatch.setattr(Client, "close", noting)
    with odd_server(Script() if has_model else Script(models=None)) as url, pytest.raises(error):
        Llama(url=url, seed=seed)
    assert len(closed) == 1
