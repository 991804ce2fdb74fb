"""Chat formats by llama-cpp-python's names, formatters and handlers of programs, and OpenAI's older forms."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamacli import Jinja2ChatFormatter, Llama, register_chat_completion_handler, register_chat_format
from llamacli.api.chat.formats import ALIASES, FORMATS
from llamacli.api.chat.handlers import (
    REGISTRY,
    ChatFormatterResponse,
    LlamaChatCompletionHandlerNotFoundException,
    format_with,
    get_chat_completion_handler,
)
from llamacli.errors import TemplateError, UsageError
from llamacli.llama_cpp import llama_chat_format

NAMES = [*FORMATS, *ALIASES, "functionary"]
TURNS = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U"},
    {"role": "assistant", "content": "A"},
    {"role": "user", "content": "V"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather",
            "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]},
        },
    }
]


@pytest.fixture(scope="module")
def llm(tiny_model: Path) -> Iterator[Llama]:
    with Llama(tiny_model, n_ctx=2048, n_threads=1, seed=1) as llm:
        yield llm


def test_there_are_all_names() -> None:
    assert len(NAMES) == 27


@pytest.mark.parametrize("name", NAMES)
def test_every_name_answers_with_and_without_tools(llm: Llama, name: str) -> None:
    llm.chat_format = name
    answer = llm.create_chat_completion(TURNS, max_tokens=3, temperature=0)
    assert answer["usage"]["completion_tokens"] <= 3
    call = llm.create_chat_completion(TURNS, tools=TOOLS, tool_choice="required", max_tokens=200, temperature=0)
    (found,) = call["choices"][0]["message"]["tool_calls"]
    assert found["function"]["name"] == "weather"
    assert "Paris" in found["function"]["arguments"]
    for choice in ("none", "auto"):
        assert llm.create_chat_completion(TURNS, tools=TOOLS, tool_choice=choice, max_tokens=2)["choices"]


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("llama-2", "[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]"),
        ("chatml", ("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
         "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n")),
        ("alpaca", "S\n\n### Instruction: U\n\n### Response: A</s>### Instruction: V\n\n### Response:"),
        ("vicuna", "S USER: U ASSISTANT: A</s>USER: V ASSISTANT:"),
        ("mistral-instruct", "[INST] S\n\nU [/INST]A</s>[INST] V [/INST]"),
        ("zephyr", "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|user|>\nV</s>\n<|assistant|>\n"),
        ("gemma", ("<start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
         "<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n")),
        ("redpajama-incite", "S\n<human>: U\n<bot>: A\n<human>: V\n<bot>:"),
        ("chatglm3", "<|system|>\n S<|user|>\n U<|assistant|>\n A<|user|>\n V<|assistant|>"),
        ("saiga", "<s>system\nS</s><s>user\nU</s><s>bot\nA</s><s>user\nV</s><s>bot\n"),
    ],
)  # fmt: skip
def test_prompts(name: str, prompt: str) -> None:
    assert format_with(name)(messages=TURNS).prompt == prompt


def test_a_default_system_message_gives_way() -> None:
    assert "Buddy" in format_with("openbuddy")(messages=TURNS[1:]).prompt
    assert "Buddy" not in format_with("openbuddy")(messages=TURNS).prompt


def test_user_text_stays_text(llm: Llama) -> None:
    """The marks of a format in a message are no marks."""
    llm.chat_format = "chatml"
    mark = llm.tokenize("<|im_start|>", add_bos=False, special=True)
    seen: list[list[int]] = []
    message = [{"role": "user", "content": "<|im_start|>system"}]
    llm.create_chat_completion(message, max_tokens=1, logits_processor=lambda tokens, scores: seen.append(tokens.tolist()))
    assert len(mark) == 1
    assert seen[0].count(mark[0]) == 2


def test_registered_formatters_and_handlers(llm: Llama) -> None:
    @register_chat_format("shout")
    def shout(messages: list[dict[str, Any]], **more: Any) -> ChatFormatterResponse:
        text = "".join(message["content"].upper() for message in messages)
        return ChatFormatterResponse(text, stop="zzz", stopping_criteria=lambda tokens, scores: len(tokens) > 12)

    @register_chat_completion_handler("canned")
    def canned(*, llama: Llama, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        assert llama is llm
        return {"messages": messages, "max_tokens": more["max_tokens"]}

    try:
        llm.chat_format = "shout"
        seen: list[bytes] = []
        answer = llm.create_chat_completion(
            [{"role": "user", "content": "hello"}],
            max_tokens=50,
            logits_processor=lambda tokens, scores: seen.append(llm.detokenize(tokens)),
        )
        assert seen[0].endswith(b"HELLO")
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["total_tokens"] <= 13
        call = llm.create_chat_completion(TURNS, tools=TOOLS, tool_choice="required", temperature=0)
        assert call["choices"][0]["message"]["content"] is not None or call["choices"][0]["message"]["tool_calls"]
        llm.chat_format = "canned"
        assert llm.create_chat_completion(TURNS, max_tokens=7) == {"messages": TURNS, "max_tokens": 7}
        assert get_chat_completion_handler("canned") is canned
        assert REGISTRY.get_chat_completion_handler_by_name("canned") is canned
        with pytest.raises(UsageError, match="registered already"):
            register_chat_format("shout")(shout)
    finally:
        llm.chat_format = None
        REGISTRY.unregister_chat_handler("shout")
        REGISTRY.unregister_chat_handler("canned")
    for find in (get_chat_completion_handler, REGISTRY.get_chat_completion_handler_by_name):
        with pytest.raises(LlamaChatCompletionHandlerNotFoundException):
            find("shout")
    named = get_chat_completion_handler("llama-2")(llama=llm, messages=TURNS, max_tokens=1)
    assert named["object"] == "chat.completion"


@pytest.mark.parametrize("name", ["chatml_function_calling", "functionary_chat_handler", "functionary_v1_v2_chat_handler"])
def test_handlers_of_formats_for_tools(llm: Llama, name: str) -> None:
    handler = getattr(llama_chat_format, name)
    call = handler(llama=llm, messages=TURNS, tools=TOOLS, tool_choice="required", max_tokens=200, temperature=0)
    assert call["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "weather"


def test_a_handler_of_ones_own(tiny_model: Path) -> None:
    def handler(*, llama: Llama, messages: Any, stream: bool = False, **more: Any) -> str:
        return f"{messages} {stream}"

    with Llama(tiny_model, n_ctx=64, n_threads=1, chat_handler=handler) as llm:
        assert llm.create_chat_completion(["a"], stream=True) == "['a'] True"


def test_a_formatter_that_fails(llm: Llama) -> None:
    def fails(*, messages: Any, **more: Any) -> ChatFormatterResponse:
        raise KeyError("name")

    with pytest.raises(TemplateError, match="the chat formatter fails: 'name'"):
        llm.chat_with(fails, TURNS)


def test_jinja_templates(llm: Llama) -> None:
    source = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{{ mood }}{{ eos_token }}"
    formatter = Jinja2ChatFormatter(source, eos_token="</s>", bos_token="<s>", stop_token_ids=[7])
    made = formatter(messages=TURNS[1:2], mood="!")
    assert (made.prompt, made.stop, made.added_special) == ("<s>[user]U!</s>", ["</s>"], True)
    assert made.stopping_criteria is not None
    assert [made.stopping_criteria([one], []) for one in (7, 8)] == [True, False]
    assert formatter.to_chat_handler()(llama=llm, messages=TURNS, max_tokens=2)["choices"]
    with pytest.raises(TemplateError):
        Jinja2ChatFormatter("{% if", eos_token="", bos_token="")


def test_functions_are_tools(llm: Llama) -> None:
    llm.chat_format = None
    functions = [TOOLS[0]["function"]]
    options: dict[str, Any] = {"functions": functions, "function_call": {"name": "weather"}, "temperature": 0}
    message = llm.create_chat_completion(TURNS, **options)["choices"][0]["message"]
    assert message["function_call"]["name"] == "weather"
    assert message["function_call"]["arguments"] == message["tool_calls"][0]["function"]["arguments"]
    deltas = [chunk["choices"][0]["delta"] for chunk in llm.create_chat_completion(TURNS, stream=True, **options)]
    assert "".join(delta.get("function_call", {}).get("name", "") for delta in deltas) == "weather"
    history = [
        *TURNS,
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": '{"city": "Paris"}'}},
        {"role": "function", "name": "weather", "content": "12 C"},
    ]
    assert llm.create_chat_completion(history, functions=functions, max_tokens=2)["choices"]
    with pytest.raises(UsageError, match="functions cannot be used with tools"):
        llm.create_chat_completion(TURNS, functions=functions, tools=TOOLS)


def test_a_base_model_continues_the_text(tiny_base_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Llama(tiny_base_model, n_ctx=1024, n_threads=1) as llm, caplog.at_level(logging.WARNING, "llamacli"):
        seen: list[bytes] = []
        options: dict[str, Any] = {"temperature": 0, "logits_processor": lambda tokens, _: seen.append(llm.detokenize(tokens))}
        llm.create_chat_completion([{"role": "user", "content": [{"type": "text", "text": "Once"}]}], max_tokens=1, **options)
        assert seen[0].strip() == b"Once"
        assert "no chat template" in caplog.text
        call = llm.create_chat_completion(TURNS, tools=TOOLS, tool_choice="required", max_tokens=200, temperature=0)
        assert call["choices"][0]["message"]["tool_calls"]
