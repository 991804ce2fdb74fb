"""The blocks of a lesson about llama-cpp-python with the import changed: what such lessons use, as one writes it.

Each block runs as it is, after `from llamacli import …`; it must print nothing but what it prints itself.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

COMPLETIONS = {
    "completion": """
llm = Llama(model_path=MODEL, n_ctx=512, n_batch=128, verbose=False)
output = llm("Q: Name the planets. A: ", max_tokens=8, stop=["Q:", "\\n"], echo=True)
assert output["choices"][0]["text"].startswith("Q: Name the planets. A: ")
assert output["usage"]["total_tokens"] == output["usage"]["prompt_tokens"] + output["usage"]["completion_tokens"]
""",
    "sampling": """
llm = Llama(model_path=MODEL, n_ctx=512, seed=1, verbose=False)
options = dict(max_tokens=6, temperature=0.7, top_p=0.9, top_k=40, min_p=0.05, typical_p=1.0, repeat_penalty=1.1,
               frequency_penalty=0.1, presence_penalty=0.1, mirostat_mode=0, mirostat_tau=5.0, mirostat_eta=0.1, seed=3)
assert llm.create_completion("One", **options)["choices"] == llm.create_completion("One", **options)["choices"]
""",
    "memory": """
llm = Llama(model_path=MODEL, n_ctx=256, n_gpu_layers=-1, use_mmap=True, use_mlock=False, low_vram=True, verbose=False)
assert llm("Hello", max_tokens=2)["choices"][0]["finish_reason"] in ("length", "stop")
""",
    "locked": """
llm = Llama(model_path=MODEL, n_ctx=64, use_mlock=True, verbose=False)
assert llm("Hello", max_tokens=1)["choices"]
""",
    "stream": """
llm = Llama(model_path=MODEL, n_ctx=256, verbose=False)
text = ""
for part in llm("Once upon a time", max_tokens=6, temperature=0, stream=True):
    text += part["choices"][0]["text"]
    last = part
assert text == llm("Once upon a time", max_tokens=6, temperature=0)["choices"][0]["text"]
assert last["choices"][0]["finish_reason"] is not None
""",
    "logprobs": """
llm = Llama(model_path=MODEL, n_ctx=256, logits_all=True, verbose=False)
found = llm("Hello", max_tokens=3, logprobs=2, temperature=0)["choices"][0]["logprobs"]
assert len(found["tokens"]) == len(found["token_logprobs"]) == len(found["top_logprobs"]) == len(found["text_offset"]) == 3
assert all(token in best for token, best in zip(found["tokens"], found["top_logprobs"]))
""",
    "bias": """
llm = Llama(model_path=MODEL, n_ctx=256, verbose=False)
token = llm.tokenize(b"a", add_bos=False)[0]
output = llm("Hello", max_tokens=3, temperature=0, logit_bias={token: 1e6})
assert output["choices"][0]["text"] == llm.detokenize([token] * 3).decode()
""",
    "grammar": """
llm = Llama(model_path=MODEL, n_ctx=256, verbose=False)
grammar = LlamaGrammar.from_string('root ::= "yes" | "no"', verbose=False)
assert llm("Is it?", grammar=grammar, max_tokens=5)["choices"][0]["text"] in ("yes", "no")
schema = LlamaGrammar.from_json_schema(json.dumps({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}))
assert json.loads(llm("JSON: ", grammar=schema, max_tokens=40)["choices"][0]["text"])["a"] in (1, 2)
""",
    "processors": """
llm = Llama(model_path=MODEL, n_ctx=256, verbose=False)
def even(input_ids, scores):
    assert input_ids.dtype == np.intc and scores.dtype == np.single
    scores[1::2] = -np.inf
    return scores
def enough(input_ids, logits):
    return len(input_ids) >= 8
processors, criteria = LogitsProcessorList([even]), StoppingCriteriaList([enough])
output = llm("Hi", max_tokens=50, logits_processor=processors, stopping_criteria=criteria, logprobs=0)
assert output["usage"]["total_tokens"] == 8
""",
    "cache": """
llm = Llama(model_path=MODEL, n_ctx=256, verbose=False)
llm.set_cache(LlamaRAMCache(capacity_bytes=64 << 20))
one, two = (llm("Again and again", max_tokens=4, temperature=0) for _ in range(2))
assert one["choices"] == two["choices"]
""",
}
CHATS = {
    "llama-2": """
llm = Llama(model_path=MODEL, n_ctx=512, chat_format="llama-2", verbose=False)
messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Name a colour."}]
answer = llm.create_chat_completion(messages=messages, max_tokens=4)
assert answer["choices"][0]["message"]["role"] == "assistant" and answer["object"] == "chat.completion"
""",
    "chat stream": """
llm = Llama(model_path=MODEL, n_ctx=512, chat_format="chatml", verbose=False)
text = ""
for chunk in llm.create_chat_completion(messages=[{"role": "user", "content": "Hello"}], max_tokens=4, stream=True):
    delta = chunk["choices"][0]["delta"]
    if "content" in delta:
        text += delta["content"]
    elif "role" in delta:
        assert delta["role"] == "assistant"
assert isinstance(text, str)
""",
    "json mode": """
llm = Llama(model_path=MODEL, n_ctx=1024, chat_format="chatml", verbose=False)
schema = {"type": "object", "properties": {"team": {"enum": ["a", "b"]}}, "required": ["team"]}
named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
for form in ({"type": "json_object", "schema": schema}, named):
    answer = llm.create_chat_completion(messages=[{"role": "user", "content": "JSON"}], response_format=form, temperature=0.7)
    assert json.loads(answer["choices"][0]["message"]["content"])["team"] in ("a", "b")
""",
    "functionary": """
llm = Llama(model_path=MODEL, n_ctx=2048, chat_format="functionary", verbose=False)
messages = [{"role": "user", "content": "Weather?"}]
answer = llm.create_chat_completion(messages=messages, tools=TOOLS, tool_choice="auto", max_tokens=12)
message = answer["choices"][0]["message"]
assert message["content"] is not None or message["tool_calls"]
assert answer["usage"]["completion_tokens"] > 0
streamed = list(llm.create_chat_completion(messages=messages, tools=TOOLS, max_tokens=12, stream=True))
assert streamed[-1]["choices"][0]["finish_reason"] in ("length", "stop", "tool_calls")
""",
    "functionary-v1": """
llm = Llama(model_path=MODEL, n_ctx=2048, chat_format="functionary-v1", verbose=False)
answer = llm.create_chat_completion(messages=[{"role": "user", "content": "Weather?"}], functions=[TOOLS[0]["function"]],
                                    function_call={"name": "weather"}, temperature=0)
assert answer["choices"][0]["message"]["function_call"]["name"] == "weather"
""",
    "function calling": """
llm = Llama(model_path=MODEL, n_ctx=2048, chat_format="chatml-function-calling", verbose=False)
answer = llm.create_chat_completion(messages=[{"role": "user", "content": "Weather?"}], tools=TOOLS,
                                    tool_choice={"type": "function", "function": {"name": "weather"}}, temperature=0)
(call,) = answer["choices"][0]["message"]["tool_calls"]
assert call["function"]["name"] == "weather" and json.loads(call["function"]["arguments"])["city"] == "Paris"
messages = [{"role": "user", "content": "Weather?"}, answer["choices"][0]["message"],
            {"role": "tool", "tool_call_id": call["id"], "content": "12 C"}]
assert llm.create_chat_completion(messages=messages, tools=TOOLS, max_tokens=4)["choices"]
""",
    "a format of one's own": """
@register_chat_format("lesson")
def format_lesson(messages, **kwargs):
    return ChatFormatterResponse(prompt="".join(m["content"] for m in messages), stop="\\n")
llm = Llama(model_path=MODEL, n_ctx=256, chat_format="lesson", verbose=False)
assert llm.create_chat_completion(messages=[{"role": "user", "content": "Hello"}], max_tokens=2)["choices"]
llm.chat_format = None
llamacli.api.chat.handlers.REGISTRY.unregister_chat_handler("lesson")
""",
}
LOW_LEVEL = {
    "tokens": """
llm = Llama(model_path=MODEL, n_ctx=256, verbose=False)
tokens = llm.tokenize(b"Hello, world", add_bos=False)
assert llm.detokenize(tokens).decode() == "Hello, world"
assert llm.token_eos() >= 0 and llm.n_vocab() == llama_cpp.llama_n_vocab(llm.model)
assert b"".join(llm.model.token_to_piece(token) for token in tokens) == b"Hello, world"
""",
    "generate": """
llm = Llama(model_path=MODEL, n_ctx=256, verbose=False)
tokens = llm.tokenize(b"Hello")
found = []
for token in llm.generate(tokens, top_k=40, top_p=0.95, temp=0.0, repeat_penalty=1.1):
    found.append(token)
    if token == llm.token_eos() or len(found) == 5:
        break
assert len(found) == 5 or found[-1] == llm.token_eos()
""",
    "eval and sample": """
llm = Llama(model_path=MODEL, n_ctx=256, logits_all=True, verbose=False)
llm.reset()
llm.eval(llm.tokenize(b"Hello"))
assert llm.scores[llm.n_tokens - 1, :].argmax() == llm.sample(temp=0.0)
assert llm.eval_logits[-1] == llm.scores[llm.n_tokens - 1].tolist()
assert list(llm.eval_tokens) == llm.input_ids[: llm.n_tokens].tolist()
assert np.exp(Llama.logits_to_logprobs(llm.scores[: llm.n_tokens])).sum(axis=-1).round(3).tolist() == [1.0] * llm.n_tokens
""",
    "state": """
llm = Llama(model_path=MODEL, n_ctx=256, verbose=False)
llm.eval(llm.tokenize(b"Hello"))
state = llm.save_state()
wanted = llm.sample(temp=0.0)
llm.reset()
llm.load_state(state)
assert llm.sample(temp=0.0) == wanted and len(repr(state).splitlines()) == 1
""",
    "C functions": """
llm = Llama(model_path=MODEL, n_ctx=256, verbose=False)
text = b"Hello"
tokens = (llama_cpp.llama_token * 16)()
n = llama_cpp.llama_tokenize(llm.model, text, len(text), tokens, 16, True, False)
sampler = llama_cpp.llama_sampler_init_greedy()
batch = llama_cpp.llama_batch_get_one(tokens, n)
for _ in range(3):
    assert llama_cpp.llama_decode(llm.ctx, batch) == 0
    logits = llama_cpp.llama_get_logits(llm.ctx)
    best = int(np.ctypeslib.as_array(logits, shape=(llama_cpp.llama_n_vocab(llm.model),)).argmax())
    tokens[0] = llama_cpp.llama_sampler_sample(sampler, llm.ctx, -1)
    assert tokens[0] == best
    batch = llama_cpp.llama_batch_get_one(tokens, 1)
llama_cpp.llama_sampler_free(sampler)
""",
    "from the file": """
llama_cpp.llama_backend_init()
model = llama_cpp.llama_load_model_from_file(MODEL.encode(), llama_cpp.llama_model_default_params())
params = llama_cpp.llama_context_default_params()
params.n_ctx = 64
ctx = llama_cpp.llama_new_context_with_model(model, params)
assert llama_cpp.llama_n_ctx(ctx) >= 64 and llama_cpp.llama_supports_mmap() and llama_cpp.llama_max_devices() >= 1
llama_cpp.llama_free(ctx)
llama_cpp.llama_free_model(model)
""",
    "embeddings": """
llm = Llama(model_path=EMBEDDING, embedding=True, n_ctx=128, verbose=False)
answer = llm.create_embedding(["one text", "another"])
assert [row["index"] for row in answer["data"]] == [0, 1] and len(answer["data"][0]["embedding"]) == llm.n_embd()
assert len(llm.embed("one text")) == llm.n_embd() and len(llm.create_embedding(input="x")["data"]) == 1
""",
    "draft": """
llm = Llama(model_path=MODEL, n_ctx=256, draft_model=LlamaPromptLookupDecoding(num_pred_tokens=4), verbose=False)
plain = Llama(model_path=MODEL, n_ctx=256, verbose=False)
tokens = llm.tokenize(b"one two three one two")
drafted, usual = ([t for t, _ in zip(x.generate(tokens, temp=0.0), range(8))] for x in (llm, plain))
assert drafted == usual
plain.close()
""",
    "the end": """
with Llama(model_path=MODEL, n_ctx=64, verbose=False) as llm:
    model, name = llm.model, llm.metadata["general.architecture"]
assert name == "llama"
for call in (lambda: llm("Hello"), lambda: llm.eval([1]), lambda: llama_cpp.llama_n_vocab(model), lambda: llm.ctx.n_ctx()):
    try:
        call()
    except Exception as error:
        assert "closed" in str(error)
    else:
        raise AssertionError("nothing was raised")
""",
}
BLOCKS = COMPLETIONS | CHATS | LOW_LEVEL
IMPORTS = """
import json
import numpy as np
import llamacli
from llamacli import Llama, LlamaGrammar, LlamaPromptLookupDecoding, LlamaRAMCache, LogitsProcessorList, StoppingCriteriaList
from llamacli import llama_cpp
from llamacli.llama_cpp.llama_chat_format import ChatFormatterResponse, register_chat_format
"""
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]},
        },
    }
]


def test_there_are_as_many_blocks_as_in_the_lesson() -> None:
    assert len(BLOCKS) == len(list(itertools.chain(COMPLETIONS, CHATS, LOW_LEVEL))) == 26


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block(
    name: str, tiny_model: Path, tiny_embedding_model: Path, capfd: pytest.CaptureFixture[str], recwarn: Any
) -> None:
    names: dict[str, Any] = {"MODEL": str(tiny_model), "EMBEDDING": str(tiny_embedding_model), "TOOLS": TOOLS}
    try:
        exec(compile(IMPORTS + BLOCKS[name], name, "exec"), names)
    finally:
        if "llm" in names:
            names["llm"].close()
    assert capfd.readouterr() == ("", "")
