"""Chat and text completions of a live server with the tiny model: documents, streams, and every refusal by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from serving import LiveServer, serving, spec_of, wait_for

from llamacli.server.http.exchange import Record, dump
from llamacli.server.metrics import Metrics

HELLO = [{"role": "user", "content": "Hello"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model)) as live:
        yield live


def chat(server: LiveServer, **fields: Any) -> Any:
    reply = server.post(CHAT, {"messages": HELLO, "max_tokens": 8, "temperature": 0, **fields})
    assert reply.status == 200, reply.body
    return reply.json()


def test_a_chat_is_one_document(server: LiveServer) -> None:
    found = chat(server)
    assert found["object"] == "chat.completion"
    assert found["model"] == "tiny"
    (choice,) = found["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "length"
    assert found["usage"]["completion_tokens"] == 8
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] + 8
    assert found["timings"]["predicted_n"] == 8


def test_a_stream_has_the_order_that_clients_expect(server: LiveServer) -> None:
    fields = {"messages": HELLO, "max_tokens": 8, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    reply = server.post(CHAT, fields)
    assert reply.headers["content-type"].startswith("text/event-stream")
    *chunks, usage, done = reply.events()
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 8
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-1])
    assert len({chunk["id"] for chunk in chunks}) == 1
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == chat(server)["choices"][0]["message"]["content"]


def test_usage_and_timings_come_only_if_they_are_asked_for(server: LiveServer) -> None:
    events = server.post(CHAT, {"messages": HELLO, "max_tokens": 2, "stream": True}).events()
    assert not any("usage" in one or "timings" in one for one in events[:-1])


def test_progress_of_the_prompt_comes_as_chunks_if_it_is_asked_for(server: LiveServer) -> None:
    fields = {"messages": HELLO, "max_tokens": 1, "stream": True, "return_progress": True, "cache_prompt": False}
    first = server.post(CHAT, fields).events()[0]
    assert first["choices"] == []
    assert first["prompt_progress"]["processed"] == first["prompt_progress"]["total"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_are_numbered(server: LiveServer, stream: bool) -> None:
    fields = {"prompt": ["Hello", "He"], "n": 2, "max_tokens": 3, "seed": 1, "temperature": 1, "stream": stream}
    reply = server.post(TEXT, fields)
    if not stream:
        found = reply.json()
        assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
        assert found["usage"]["completion_tokens"] == 12
        return
    texts = dict.fromkeys(range(4), "")
    for event in reply.events()[:-1]:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    whole = server.post(TEXT, {**fields, "stream": False}).json()
    assert list(texts.values()) == [choice["text"] for choice in whole["choices"]]


def test_a_seed_repeats_an_answer(server: LiveServer) -> None:
    first, second, other = (chat(server, temperature=1.0, seed=seed)["choices"] for seed in (7, 7, 8))
    assert first == second != other


def test_log_probabilities_have_the_shape_of_each_endpoint(server: LiveServer) -> None:
    content = chat(server, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    assert len(content) == 8
    assert all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in content)
    found = server.post(TEXT, {"prompt": "Hello", "max_tokens": 4, "logprobs": 3, "temperature": 0}).json()
    logprobs = found["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == len(logprobs["token_logprobs"]) == len(logprobs["text_offset"]) == 4
    assert "".join(logprobs["tokens"]) == found["choices"][0]["text"]


def test_the_best_of_several_is_the_most_probable(server: LiveServer) -> None:
    fields = {"prompt": "Hello", "max_tokens": 4, "seed": 3, "temperature": 1.5, "logprobs": 0}
    every = server.post(TEXT, {**fields, "n": 4}).json()["choices"]
    best = server.post(TEXT, {**fields, "n": 1, "best_of": 4}).json()
    means = [sum(choice["logprobs"]["token_logprobs"]) / len(choice["logprobs"]["token_logprobs"]) for choice in every]
    assert best["choices"][0]["text"] == every[means.index(max(means))]["text"]
    assert len(best["choices"]) == 1
    assert best["usage"]["completion_tokens"] == 16


def test_tokens_are_a_prompt(server: LiveServer) -> None:
    fields = {"max_tokens": 4, "temperature": 0}
    of_text = server.post(TEXT, {"prompt": "Hello", **fields}).json()
    tokens = server.state.pool.loaded()[0].backend.tokenize("Hello")
    of_tokens = server.post(TEXT, {"prompt": tokens, **fields}).json()
    assert of_text["choices"] == of_tokens["choices"]


def test_an_echo_comes_before_the_answer(server: LiveServer) -> None:
    found = server.post(TEXT, {"prompt": "Hello world", "max_tokens": 1, "echo": True}).json()
    assert found["choices"][0]["text"].startswith("Hello world")


def test_an_echo_has_the_log_probabilities_of_the_prompt(server: LiveServer) -> None:
    fields = {"prompt": "Hello world, the user", "max_tokens": 1, "echo": True, "logprobs": 2, "temperature": 0}
    found = server.post(TEXT, fields).json()["choices"][0]
    logprobs = found["logprobs"]
    assert "".join(logprobs["tokens"]) == found["text"]
    assert logprobs["token_logprobs"][0] is None
    assert all(value < 0 for value in logprobs["token_logprobs"][1:])
    assert [found["text"][at:].startswith(token) for at, token in zip(logprobs["text_offset"], logprobs["tokens"], strict=True)]
    assert len(logprobs["top_logprobs"][-1]) == 2
    refused = server.post(TEXT, {**fields, "stream": True})
    assert (refused.status, refused.error["param"]) == (400, "echo")


@pytest.mark.parametrize(
    "constraint",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
        {"json_schema": SCHEMA},
    ],
)
def test_a_schema_is_enforced(server: LiveServer, constraint: dict[str, Any]) -> None:
    found = chat(server, max_tokens=200, temperature=1.0, seed=5, **constraint)["choices"][0]
    if found["finish_reason"] == "stop":
        assert isinstance(json.loads(found["message"]["content"])["a"], int)
    else:
        assert found["message"]["content"].startswith("{")


def test_a_grammar_is_enforced(server: LiveServer) -> None:
    found = chat(server, grammar='root ::= "yes" | "no"')["choices"][0]
    assert found["message"]["content"] in ("yes", "no")
    assert found["finish_reason"] == "stop"


def test_biases_are_understood_in_both_forms(server: LiveServer) -> None:
    (token,) = server.state.pool.loaded()[0].backend.tokenize(" the")
    for biases in ({str(token): 1000}, [[token, 1000]], [[" the", 1000]]):
        assert chat(server, logit_bias=biases)["choices"][0]["message"]["content"] == " the" * 8


def test_a_prompt_in_the_cache_is_not_evaluated_again(server: LiveServer) -> None:
    messages = [{"role": "user", "content": "one two three four five six seven eight nine ten"}]
    chat(server, messages=messages)
    assert chat(server, messages=messages)["usage"]["prompt_tokens_details"]["cached_tokens"] > 20
    again = chat(server, messages=messages, cache_prompt=False)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_an_answer_continues_its_beginning(server: LiveServer) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "He"}]
    whole = chat(server, messages=messages, continue_final_message=True, add_generation_prompt=False)
    prompt = server.post(TEXT, {"prompt": "x", "max_tokens": 1})
    assert prompt.status == 200
    assert whole["usage"]["prompt_tokens"] < chat(server, messages=messages)["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"unheard_of": 1}, "unheard_of"),
        ({"max_token": 1}, "max_token"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": True}, "top_p"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"stop": [1]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"seed": 1.5}, "seed"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"logit_bias": [["a"]]}, "logit_bias"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_object"}, "grammar": 'root ::= "a"'}, "grammar"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"store": True}, "store"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"functions": []}, "functions"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"reasoning_format": "x"}, "reasoning_format"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"mirostat": 3}, "mirostat"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"samplers": ["x"]}, "samplers"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"messages": None}, "messages"),
        ({"model": 3}, "model"),
        ({"user": 3}, "user"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_supported_is_named(server: LiveServer, fields: dict[str, Any], param: str) -> None:
    reply = server.post(CHAT, {"messages": HELLO, "max_tokens": 1, **fields})
    assert reply.status == 400, reply.body
    assert reply.error["param"] == param
    assert reply.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"echo": True, "suffix": "x"}, "echo"),
        ({"messages": HELLO}, "messages"),
    ],
)
def test_what_texts_do_not_support_is_named(server: LiveServer, fields: dict[str, Any], param: str) -> None:
    reply = server.post(TEXT, {"prompt": "Hello", "max_tokens": 1, **fields})
    assert reply.status == 400, reply.body
    assert reply.error["param"] == param


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"{", "invalid JSON"), (b"[]", "must be a JSON object"), (b'{"messages": NaN}', "NaN"), (b"\xff", "not valid UTF-8")],
)
def test_a_body_that_is_no_request_is_a_400(server: LiveServer, body: bytes, words: str) -> None:
    reply = server.post(CHAT, body=body)
    assert reply.status == 400
    assert words in reply.error["message"]


def test_half_a_character_is_refused(server: LiveServer) -> None:
    reply = server.post(CHAT, body=b'{"messages": [{"role": "user", "content": "\\ud800"}]}')
    assert reply.status == 400
    assert "surrogate" in reply.error["message"]


def test_a_prompt_that_is_too_long_is_told_before_anything_is_streamed(server: LiveServer) -> None:
    messages = [{"role": "user", "content": "word " * 600}]
    reply = server.post(CHAT, {"messages": messages, "stream": True})
    assert reply.status == 400
    assert reply.error["code"] == "context_length_exceeded"
    assert "512" in reply.error["message"]


def test_an_invalid_grammar_is_a_400(server: LiveServer) -> None:
    for fields in ({"grammar": "root ::= ("}, {"json_schema": {"type": "nothing"}}):
        reply = server.post(CHAT, {"messages": HELLO, **fields})
        assert reply.status == 400
        assert reply.error["code"] == "invalid_grammar"


def test_an_unknown_model_is_a_404_with_what_there_is(server: LiveServer) -> None:
    reply = server.post(CHAT, {"messages": HELLO, "model": "gpt-9"})
    assert reply.status == 404
    assert reply.error["code"] == "model_not_found"
    assert "tiny" in reply.error["message"]


def test_infill_needs_a_model_that_was_trained_for_it(server: LiveServer) -> None:
    reply = server.post("/infill", {"input_prefix": "a", "input_suffix": "b"})
    assert reply.status == 400
    assert "fill-in-the-middle" in reply.error["message"]


FIM = {
    "fim_pre": "<|fim_prefix|>", "fim_suf": "<|fim_suffix|>", "fim_mid": "<|fim_middle|>",
    "fim_rep": "<|repo_name|>", "fim_sep": "<|file_sep|>",
}  # fmt: skip
EXTRA = [{"filename": "a.py", "text": "A = 1\n"}, {"text": "B"}]


@pytest.mark.parametrize(
    ("names", "before"),
    [
        (("fim_pre", "fim_suf", "fim_mid"), "\n\n--- snippet ---\n\nA = 1\n\n\n--- snippet ---\n\nB"),
        (tuple(FIM), "<|repo_name|>myproject\n<|file_sep|>a.py\nA = 1\n<|file_sep|>tmp\nB<|file_sep|>filename\n"),
    ],
)
def test_infill_knows_files_of_the_project(tmp_path: Path, names: tuple[str, ...], before: str) -> None:
    vocabulary = tiny.default_vocabulary(control=(*tiny.CONTROL_TOKENS, *(FIM[name] for name in names)))
    ids = {f"tokenizer.ggml.{name}_token_id": vocabulary.tokens.index(FIM[name]) for name in names}
    model = tiny.tiny_model(tmp_path / "fim.gguf", vocabulary=vocabulary, change=ids)
    fields = {"input_prefix": "f(", "input_suffix": ")", "prompt": "x", "max_tokens": 1}
    with serving(spec_of(model), keeps_prompts=True) as server:
        for number, (extra, words) in enumerate([({}, ""), ({"input_extra": EXTRA}, before)], start=1):
            assert server.post("/infill", {**fields, **extra}).status == 200
            wait_for(lambda number=number: len(server.records) == number)
            (prompt,) = server.records[-1].prompts
            assert prompt == f"{words}<|fim_prefix|>f(x<|fim_suffix|>)<|fim_middle|>"
        for wrong, field in (("x", "input_extra"), ([{"name": "a"}], "text"), ([1], "input_extra[0]")):
            reply = server.post("/infill", {**fields, "input_extra": wrong})
            assert reply.status == 400
            assert field in reply.error["message"]


def test_unknown_paths_and_methods_have_errors_of_openai(server: LiveServer) -> None:
    assert server.get("/v1/unheard").error["code"] == "not_found"
    reply = server.get(CHAT)
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert server.get("/v1/models/unheard").status == 404
    assert server.get("/v1/models/tiny").json()["meta"]["n_ctx"] == 512


def test_the_server_tells_what_it_does(server: LiveServer) -> None:
    chat(server)
    text = server.get("/metrics").body.decode()
    assert 'llamacli_completion_tokens_total{model="tiny"}' in text
    assert 'llamacli_time_to_first_token_seconds_count{model="tiny"}' in text
    assert 'llamacli_inter_token_seconds_count{model="tiny"}' in text
    assert server.get("/props").json()["total_slots"] == 4
    assert server.get("/health").json() == {"status": "ok"}


def test_what_need_not_be_computed_is_counted_by_model() -> None:
    metrics = Metrics()
    counted = {"cached_tokens": 90, "restored_tokens": 80, "completion_tokens": 20, "drafted_tokens": 15, "accepted_tokens": 12}
    for _ in range(2):
        metrics.count(Record(method="POST", path=CHAT, model="tiny", prompt_tokens=100, **counted), CHAT)
    lines = metrics.text().decode().splitlines()
    for name, tokens in counted.items():
        assert f'llamacli_{name}_total{{model="tiny"}} {2.0 * tokens}' in lines


def test_no_character_of_a_text_ends_the_line_of_an_event() -> None:
    text = "a\x85b\u2028c\u2029d\x1ce\r\n\x0bé"
    data = dump({"text": text})
    assert len(data.decode().splitlines()) == 1
    assert json.loads(data) == {"text": text}
