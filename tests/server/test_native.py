"""llama-server's own endpoints: completions and vectors in its format, and slots."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import LiveServer, serving, spec_of, wait_for
from tiny_bert import tiny_bert

GREEDY = {"prompt": "Hello", "n_predict": 6, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    bert = tiny_bert(tmp_path_factory.mktemp("models") / "bert.gguf")
    with serving(spec_of(tiny_model, parallel=2), spec_of(bert)) as live:
        yield live


def openai_text(server: LiveServer) -> str:
    reply = server.post("/v1/completions", {"prompt": "Hello", "max_tokens": 6, "temperature": 0, "ignore_eos": True})
    return str(reply.json()["choices"][0]["text"])


def test_a_completion_has_the_text_of_openais(server: LiveServer) -> None:
    document = server.post("/completion", GREEDY).json()
    assert document["content"] == openai_text(server)
    assert (document["stop"], document["stop_type"], document["tokens_predicted"]) == (True, "limit", 6)
    assert document["timings"]["predicted_n"] == 6
    *chunks, last = server.post("/completion", {**GREEDY, "stream": True}).events()
    assert "".join(chunk["content"] for chunk in chunks) == document["content"]
    assert [chunk["stop"] for chunk in chunks] == [False] * len(chunks)
    assert (last["content"], last["stop"], last["tokens_predicted"]) == ("", True, 6)


def test_tokens_are_a_prompt_and_constraints_hold(server: LiveServer) -> None:
    tokens = server.post("/tokenize", {"content": "Hello", "add_special": True}).json()["tokens"]
    assert server.post("/completion", {**GREEDY, "prompt": tokens}).json()["content"] == openai_text(server)
    assert server.post("/completion", {**GREEDY, "grammar": 'root ::= "ab"'}).json()["content"] == "ab"
    assert server.post("/completion", {**GREEDY, "response_fields": ["tokens_predicted"]}).json() == {"tokens_predicted": 6}


def test_probabilities_are_told_whole_and_streamed(server: LiveServer) -> None:
    whole = server.post("/completion", {**GREEDY, "n_probs": 3}).json()["completion_probabilities"]
    assert [len(one["top_logprobs"]) for one in whole] == [3] * 6
    assert "".join(one["token"] for one in whole) == openai_text(server)
    assert all(math.isclose(one["logprob"], one["top_logprobs"][0]["logprob"]) for one in whole)  # greedy
    chunks = server.post("/completion", {**GREEDY, "n_probs": 3, "stream": True}).events()
    streamed = [one for chunk in chunks for one in chunk.get("completion_probabilities", ())]
    assert [one["id"] for one in streamed] == [one["id"] for one in whole]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"id_slot": 1}, "id_slot"),
        ({"stream": True, "stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "return_progress": True}, "return_progress"),
        ({"return_tokens": True}, "return_tokens"),
        ({"lora": []}, "lora"),
        ({"n": 2}, "n"),
    ],
)
def test_what_is_not_supported_is_named(server: LiveServer, fields: dict[str, Any], param: str) -> None:
    reply = server.post("/completion", {**GREEDY, **fields})
    assert (reply.status, reply.error["param"]) == (400, param)


def test_vectors_are_those_of_openais_endpoint(server: LiveServer) -> None:
    expected = server.post("/v1/embeddings", {"model": "bert", "input": ["a cat", "two"]}).json()["data"]
    for name in ("content", "input"):
        found = server.post("/embedding", {"model": "bert", name: ["a cat", "two"]}).json()
        assert [one["index"] for one in found] == [0, 1]
        assert [one["embedding"] for one in found] == [[one["embedding"]] for one in expected]
    raw = server.post("/embedding", {"model": "bert", "content": "a cat", "embd_normalize": -1}).json()[0]["embedding"][0]
    assert np.allclose(raw / np.linalg.norm(raw), expected[0]["embedding"], atol=1e-6)
    assert server.post("/embedding", {"model": "bert", "content": "a", "dimensions": 3}).error["param"] == "dimensions"
    assert server.post("/embedding", {"model": "bert"}).error["param"] == "content"


def test_slots_tell_who_is_busy(server: LiveServer) -> None:
    server.wait_until_idle()
    assert server.get("/slots").json() == [{"id": number, "n_ctx": 512, "is_processing": False} for number in range(2)]
    assert server.get("/slots?fail_on_no_slot=1").status == 200
    admission = server.state.pool.loaded()[0].admission
    body = json.dumps({"prompt": "Hello", "max_tokens": 300, "ignore_eos": True})
    with closing(server.connection()) as busy:
        busy.request("POST", "/v1/completions", body)
        wait_for(lambda: admission.running > 0)
        busy.getresponse().read()
    admission._free -= 2  # as if two answers ran
    try:
        assert [slot["is_processing"] for slot in server.get("/slots").json()] == [True, True]
        refused = server.get("/slots?fail_on_no_slot=1")
        assert (refused.status, refused.error["code"]) == (503, "no_slot")
    finally:
        admission._free += 2
    assert server.post("/slots/0?action=erase").status == 404
