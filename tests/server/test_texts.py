"""Vectors, scores and tokens of a live server, against what the engine gives in process."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
from serving import LiveServer, serving, spec_of, wait_for

from llamacli.engine.embedding.embedder import Embedder
from llamacli.engine.embedding.params import EmbeddingParams

TEXTS = ["the cat sat on the mat", "a dog", "hello world"]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.tiny_bert(tmp_path_factory.mktemp("models") / "rank.gguf", rerank=True)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.tiny_bert(tmp_path_factory.mktemp("models") / "bert.gguf")


@pytest.fixture(scope="module")
def server(tiny_model: Path, bert: Path, reranker: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model), spec_of(bert), spec_of(reranker)) as live:
        yield live


def vectors(server: LiveServer, **fields: Any) -> np.ndarray:
    reply = server.post("/v1/embeddings", {"model": "bert", "input": TEXTS, **fields})
    assert reply.status == 200, reply.body
    return np.array([one["embedding"] for one in reply.json()["data"]], dtype=np.float32)


def test_vectors_are_those_of_the_engine(server: LiveServer, bert: Path) -> None:
    with Embedder(bert) as embedder:
        expected = np.concatenate([outcome.vectors for outcome in embedder.embed(TEXTS)])
    assert np.allclose(vectors(server), expected, atol=1e-6)
    reply = server.post("/v1/embeddings", {"model": "bert", "input": TEXTS, "encoding_format": "base64"}).json()
    decoded = [np.frombuffer(base64.b64decode(one["embedding"]), dtype="<f4") for one in reply["data"]]
    assert np.array_equal(np.stack(decoded), vectors(server))
    assert reply["usage"]["prompt_tokens"] == reply["usage"]["total_tokens"] > 10


def test_a_client_that_leaves_ends_its_own_vectors_only(server: LiveServer) -> None:
    expected = vectors(server)
    (model,) = (model for model in server.state.pool.loaded() if model.name == "bert")
    texts = [f"{word} two three" for word in ("a", "one", "dog")] * 2000
    with closing(server.connection()) as leaving:
        leaving.request("POST", "/v1/embeddings", json.dumps({"model": "bert", "input": texts}))
        wait_for(lambda: model.admission.running > 0)
        assert np.allclose(vectors(server), expected, atol=1e-6)  # beside it
    assert server.wait_until_idle() < 5
    assert np.allclose(vectors(server), expected, atol=1e-6)  # after it
    with ThreadPoolExecutor(4) as threads:
        assert all(np.allclose(found, expected, atol=1e-6) for found in threads.map(lambda _: vectors(server), range(8)))


def test_tokens_are_a_text_too(server: LiveServer) -> None:
    tokens = server.post("/tokenize", {"model": "bert", "content": TEXTS[0]}).json()["tokens"]
    assert np.allclose(vectors(server, input=tokens), vectors(server)[:1], atol=1e-6)
    assert np.allclose(vectors(server, input=[tokens, tokens])[1], vectors(server)[0], atol=1e-6)


def test_fewer_dimensions_are_normalized_again(server: LiveServer, bert: Path) -> None:
    with Embedder(bert) as embedder:
        expected = np.concatenate([outcome.vectors for outcome in embedder.embed(TEXTS, EmbeddingParams(dims=8))])
    assert np.allclose(vectors(server, dimensions=8), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", "word " * 100]}, "input[1]"),
        ({"input": [999999]}, "input[0]"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 64}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"unheard": 1}, "unheard"),
    ],
)
def test_what_cannot_be_embedded_is_named(server: LiveServer, fields: dict[str, Any], param: str) -> None:
    reply = server.post("/v1/embeddings", {"model": "bert", "input": "a", **fields})
    assert reply.status == 400, reply.body
    assert reply.error["param"] == param


def test_a_chat_model_has_vectors_too(server: LiveServer) -> None:
    assert vectors(server, model="tiny", input="Hello").shape == (1, 64)


def test_an_embedding_model_does_not_chat(server: LiveServer) -> None:
    reply = server.post("/v1/completions", {"model": "bert", "prompt": "Hello"})
    assert reply.status == 400
    assert reply.error["code"] == "model_unsupported"


def test_texts_are_sorted_by_their_score(server: LiveServer, reranker: Path) -> None:
    fields = {"model": "rank", "query": "what is a cat", "documents": [*TEXTS[:2], {"text": TEXTS[2]}]}
    found = server.post("/v1/rerank", {**fields, "return_documents": True}).json()["results"]
    with Embedder(reranker) as embedder:
        scores = [float(one.vectors[0][0]) for one in embedder.rerank("what is a cat", TEXTS, EmbeddingParams())]
    assert [one["relevance_score"] for one in found] == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
    assert [scores[one["index"]] for one in found] == pytest.approx([one["relevance_score"] for one in found], abs=1e-6)
    assert [one["document"]["text"] for one in found] == [TEXTS[one["index"]] for one in found]
    assert len(server.post("/v1/rerank", {**fields, "top_n": 1}).json()["results"]) == 1
    refused = server.post("/v1/rerank", {**fields, "model": "bert"})
    assert (refused.status, refused.error["code"]) == (400, "model_unsupported")


def test_tokens_and_texts_turn_into_each_other(server: LiveServer) -> None:
    text = "Hello world, <|im_start|> grüße"
    tokens = server.post("/tokenize", {"content": text}).json()["tokens"]
    assert server.post("/v1/detokenize", {"tokens": tokens}).json() == {"content": text, "prompt": text}
    plain = server.post("/tokenize", {"content": text, "parse_special": False}).json()
    assert plain["count"] > len(tokens)
    pieces = server.post("/tokenize", {"content": "ü", "with_pieces": True}).json()["tokens"]
    assert [piece["piece"] for piece in pieces] == [[0xC3], [0xBC]]
    refused = server.post("/detokenize", {"tokens": [10**6]})
    assert (refused.status, refused.error["param"]) == (400, "tokens")


def test_a_template_shows_the_prompt(server: LiveServer) -> None:
    fields = {"messages": [{"role": "user", "content": "Hello"}]}
    found = server.post("/apply-template", fields).json()
    assert found["prompt"] == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    answer = server.post("/v1/chat/completions", {**fields, "max_tokens": 1}).json()
    assert found["tokens"] == answer["usage"]["prompt_tokens"]


def test_the_tokenizer_is_described_as_vllm_does(server: LiveServer) -> None:
    info = server.get("/tokenizer_info").json()
    assert set(info) == {"bos_token", "eos_token", "chat_template"}
    (eos,) = server.post("/tokenize", {"prompt": info["eos_token"], "add_special_tokens": False}).json()["tokens"]
    assert server.post("/detokenize", {"tokens": [eos]}).json()["prompt"] == info["eos_token"]
