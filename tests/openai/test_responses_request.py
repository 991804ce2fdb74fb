"""Requests of the Responses API: what becomes of each field, and that none is ignored."""

from __future__ import annotations

from typing import Any

import pytest
from pictures import data_url

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.engine.media.media import new_image
from llamacli.engine.params import SamplingParams
from llamacli.errors import SchemaError, UsageError
from llamacli.openai.responses.request import ResponseRequest, read_request
from llamacli.openai.responses.store import ResponseStore
from llamacli.openai.seal import seal

LOOK = {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": False}
WALK = {"type": "function", "name": "walk"}
CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}", "id": "fc_1", "status": "completed"}
SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}, "required": ["b", "a"]}


def read(body: Any) -> ResponseRequest:
    return read_request(body, SamplingParams(temperature=0.3), ResponseStore())


def asked(**body: Any) -> ResponseRequest:
    return read({"input": "Hi", **body})


def said(*items: Any, **body: Any) -> tuple[Message, ...]:
    return asked(input=list(items), **body).question.conversation


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


CONVERSATIONS = {
    "text": ("Hi", (Message("user", "Hi"),)),
    "parts": (
        [user([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}])],
        (Message("user", ("a", "b")),),
    ),
    "developer first": (
        [{"type": "message", "role": "developer", "content": "Be brief."}, user("Hi")],
        (Message("system", "Be brief."), Message("user", "Hi")),
    ),
    "an answer of several items": (
        [
            user("Hi"),
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}],
            },
            CALL,
            {**CALL, "call_id": "c2"},
            {"type": "function_call_output", "call_id": "c2", "output": "two"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "one"}]},
        ],
        (
            Message("user", "Hi"),
            Message(
                "assistant",
                "I look.",
                (ToolCall("look", "{}", id="c1"), ToolCall("look", "{}", id="c2")),
                reasoning_content="hm",
            ),
            Message("tool", "two", tool_call_id="c2", name="look"),
            Message("tool", "one", tool_call_id="c1", name="look"),
        ),
    ),
    "reasoning handed back": (
        [
            user("Hi"),
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal("hm ä")},
            {"role": "assistant", "content": "Yes."},
            user("So?"),
        ],
        (Message("user", "Hi"), Message("assistant", "Yes.", reasoning_content="hm ä"), Message("user", "So?")),
    ),
    "reasoning that was cut": (
        [user("Hi"), {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}, user("So?")],
        (Message("user", "Hi"), Message("assistant", "", reasoning_content="hm"), Message("user", "So?")),
    ),
    "two answers": (
        [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        (Message("assistant", "a"), Message("assistant", "no")),
    ),
    "custom tools and namespaces": (
        [
            {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'say "hi"'},
            {"type": "function_call", "call_id": "c2", "name": "log", "namespace": "mcp__git__", "arguments": "{}"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
            {"type": "function_call_output", "call_id": "c2", "output": ""},
        ],
        (
            Message(
                "assistant",
                None,
                (ToolCall("patch", '{"input": "say \\"hi\\""}', id="c1"), ToolCall("mcp__git__log", "{}", id="c2")),
            ),
            Message("tool", "done", tool_call_id="c1", name="patch"),
            Message("tool", "", tool_call_id="c2", name="mcp__git__log"),
        ),
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_items_become_the_messages_of_a_conversation(name: str) -> None:
    given, messages = CONVERSATIONS[name]
    assert read({"input": given}).question.conversation == messages


def test_instructions_come_first_and_are_one_system_message_with_those_of_the_input() -> None:
    item = {"role": "system", "content": "Speak French."}
    assert said(item, user("Hi"), instructions="Be brief.")[0] == Message("system", "Be brief.\n\nSpeak French.")
    assert asked(instructions="Be brief.").conversation == (Message("user", "Hi"),)


def test_sampling_and_limits() -> None:
    request = asked(temperature=0.7, top_p=0.5, top_k=7, seed=3, max_output_tokens=9, top_logprobs=2, stream=True, store=False)
    params = request.generation.params
    sampling = params.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.7, 0.5, 7, 3)
    assert (params.max_tokens, params.logprobs, request.stream, request.store) == (9, 2, True, False)
    defaults = asked()
    assert (defaults.generation.params.sampling.temperature, defaults.generation.params.logprobs) == (0.3, None)
    assert (defaults.stream, defaults.store, defaults.repeated["temperature"]) == (False, True, 0.3)
    assert asked(include=["message.output_text.logprobs"]).generation.params.logprobs == 0


@pytest.mark.parametrize(
    ("effort", "reasoning", "variables"),
    [(None, "auto", None), ("none", "off", None), ("high", "on", {"reasoning_effort": "high"})],
)
def test_reasoning(effort: str | None, reasoning: str, variables: Any) -> None:
    question = asked(reasoning={"effort": effort, "summary": "auto"}).question
    assert (question.reasoning, question.variables) == (reasoning, variables)


def test_formats_are_constraints() -> None:
    assert asked(text={"format": {"type": "text"}}).question.constraint is None
    assert asked(text={"format": {"type": "json_object"}}).question.constraint.schema == {"type": "object"}
    named = {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}
    constraint = asked(text={"format": named}).question.constraint
    assert constraint.schema == SCHEMA
    grammar = constraint.grammar.grammar
    assert grammar.index("root-b-kv") < grammar.index("root-a-kv")
    loose = {"type": "json_schema", "name": "x", "schema": {"type": "array", "uniqueItems": True, "items": {}}}
    assert asked(text={"format": {**loose, "strict": False}}).question.constraint.not_enforced
    with pytest.raises(SchemaError, match="cannot be enforced"):
        asked(text={"format": loose})


CHOICES = [
    (None, ("look", "walk"), "auto"),
    ("auto", ("look", "walk"), "auto"),
    ("none", ("look", "walk"), "none"),
    ("required", ("look", "walk"), "required"),
    ({"type": "function", "name": "walk"}, ("walk",), "required"),
    ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]}, ("look",), "auto"),
    ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]}, ("look",), "required"),
]


@pytest.mark.parametrize(("choice", "names", "mode"), CHOICES)
def test_the_choice_among_tools(choice: Any, names: tuple[str, ...], mode: str) -> None:
    request = asked(tools=[LOOK, WALK], tool_choice=choice)
    assert (tuple(tool.name for tool in request.question.tools), request.question.tool_choice) == (names, mode)
    assert [tool["name"] for tool in request.repeated["tools"]] == ["look", "walk"]
    assert request.repeated["tool_choice"] == (choice or "auto")


def test_parallel_calls_are_allowed_unless_refused() -> None:
    assert asked(tools=[LOOK]).question.parallel_tool_calls
    assert not asked(tools=[LOOK], parallel_tool_calls=False).question.parallel_tool_calls


def test_what_clients_say_about_themselves_is_repeated() -> None:
    said = {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "metadata": {"a": "b"}, "instructions": "I"}
    assert asked(**said, client_metadata={"x": "y"}).repeated.items() >= said.items()


REFUSED = [
    ([], None),
    ({}, "input"),
    ({"input": 5}, "input"),
    ({"input": [5]}, "input[0]"),
    ({"input": "half \ud800"}, None),
    ({"input": "Hi", "temprature": 1}, "temprature"),
    ({"input": "Hi", "temperature": "warm"}, "temperature"),
    ({"input": "Hi", "top_logprobs": 21}, "top_logprobs"),
    ({"input": "Hi", "max_output_tokens": 1.5}, "max_output_tokens"),
    ({"input": "Hi", "background": True}, "background"),
    ({"input": "Hi", "truncation": "auto"}, "truncation"),
    ({"input": "Hi", "service_tier": "flex"}, "service_tier"),
    ({"input": "Hi", "max_tool_calls": 3}, "max_tool_calls"),
    ({"input": "Hi", "conversation": "conv_1"}, "conversation"),
    ({"input": "Hi", "prompt": {"id": "p"}}, "prompt"),
    ({"input": "Hi", "include": ["file_search_call.results"]}, "include"),
    ({"input": "Hi", "metadata": {"a": 1}}, "metadata"),
    ({"input": "Hi", "metadata": {str(i): "" for i in range(17)}}, "metadata"),
    ({"input": "Hi", "reasoning": {"summary": "detailed"}}, "reasoning.summary"),
    ({"input": "Hi", "reasoning": {"effort": "some"}}, "reasoning.effort"),
    ({"input": "Hi", "reasoning": {"budget": 5}}, "reasoning.budget"),
    ({"input": "Hi", "text": {"verbosity": "low"}}, "text.verbosity"),
    ({"input": "Hi", "text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"input": "Hi", "text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ({"input": "Hi", "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    ({"input": "Hi", "previous_response_id": "resp_1"}, "previous_response_id"),
    ({"input": "Hi", "tools": {}}, "tools"),
    ({"input": "Hi", "tools": [{"type": "code_interpreter", "container": {}}]}, "tools[0].type"),
    ({"input": "Hi", "tools": [{"type": "function"}]}, "tools[0].name"),
    ({"input": "Hi", "tools": [LOOK, LOOK]}, "tools[1]"),
    ({"input": "Hi", "tools": [{**LOOK, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"input": "Hi", "tools": [{"type": "custom", "name": "x", "format": {"type": "grammar"}}]}, "tools[0].format"),
    (
        {"input": "Hi", "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "namespace", "name": "m"}]}]},
        "tools[0].tools[0].type",
    ),
    ({"input": "Hi", "tools": [LOOK], "tool_choice": "look"}, "tool_choice"),
    ({"input": "Hi", "tools": [LOOK], "tool_choice": {"type": "function", "name": "fly"}}, "tool_choice"),
    ({"input": "Hi", "tools": [LOOK], "tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice"),
    ({"input": [user([{"type": "input_image", "image_url": "data:"}])]}, "input[0].content[0].image_url"),
    ({"input": [{"role": "robot", "content": "Hi"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": "Hi", "mood": "calm"}]}, "input[0].mood"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"type": "function_call_output", "call_id": "c9", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}]}, "input[0].encrypted_content"),
]


@pytest.mark.parametrize(("body", "parameter"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_is_invalid_or_not_supported_is_named(body: Any, parameter: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        read(body)
    assert caught.value.parameter == parameter
    assert "\n" not in str(caught.value)


def test_images_are_parts_of_messages_and_of_results() -> None:
    image = {"type": "input_image", "image_url": data_url(), "detail": "auto"}
    red = new_image(8, 4, b"\xff\0\0" * 32)
    result = {"type": "function_call_output", "call_id": "c1", "output": [image]}
    messages = said(user([{"type": "input_text", "text": "What?"}, image]), CALL, result)
    assert messages[0] == Message("user", ("What?", red))
    assert messages[-1].content == (red,)
