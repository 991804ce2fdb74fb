"""Requests of the Messages API: what becomes of each field, and that none is ignored."""

from __future__ import annotations

from typing import Any

import pytest
from pictures import data_url

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.engine.media.media import new_image
from llamacli.engine.params import SamplingParams
from llamacli.errors import SchemaError, UsageError
from llamacli.openai.messages.request import MessagesRequest, read_count, read_request
from llamacli.openai.seal import seal

LOOK = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
WALK = {"type": "custom", "name": "walk", "input_schema": {"type": "object"}, "strict": True}
HI = {"role": "user", "content": "Hi"}
USE = {"type": "tool_use", "id": "t1", "name": "look", "input": {"place": "ä"}}


def read(body: Any) -> MessagesRequest:
    return read_request(body, SamplingParams(temperature=0.3))


def asked(*messages: Any, **body: Any) -> MessagesRequest:
    return read({"model": "tiny", "max_tokens": 9, "messages": list(messages) or [HI], **body})


def text(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": one, "cache_control": {"type": "ephemeral"}} for one in texts]


CONVERSATIONS = {
    "text": ([HI], (Message("user", "Hi"),)),
    "blocks": ([{"role": "user", "content": text("a", "b")}], (Message("user", ("a", "b")),)),
    "messages of one role": (
        [HI, {"role": "user", "content": text("So?")}, {"role": "assistant", "content": "a"}, HI],
        (Message("user", ("Hi", "So?")), Message("assistant", "a"), Message("user", "Hi")),
    ),
    "uses and results": (
        [
            HI,
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, *text("I look."), USE],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": text("one", "two")},
                    *text("So?"),
                ],
            },
        ],
        (
            Message("user", "Hi"),
            Message("assistant", "I look.", (ToolCall("look", '{"place": "ä"}', id="t1"),), reasoning_content="hm"),
            Message("tool", "one\ntwo", tool_call_id="t1", name="look"),
            Message("user", "So?"),
        ),
    ),
    "an answer of several messages": (
        [
            HI,
            {"role": "assistant", "content": [USE]},
            {"role": "assistant", "content": [{**USE, "id": "t2"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": "gone"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": "Error 5"}]},
        ],
        (
            Message("user", "Hi"),
            Message(
                "assistant", None, (ToolCall("look", '{"place": "ä"}', id="t1"), ToolCall("look", '{"place": "ä"}', id="t2"))
            ),
            Message("tool", "Error: gone", tool_call_id="t2", name="look"),
            Message("tool", "Error 5", tool_call_id="t1", name="look"),
        ),
    ),
    "hidden thinking": (
        [HI, {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": seal("hm")}, *text("a")]}, HI],
        (Message("user", "Hi"), Message("assistant", "a", reasoning_content="hm"), Message("user", "Hi")),
    ),
    "a system message": (
        [{"role": "system", "content": "Be brief."}, HI],
        (Message("system", "Be brief."), Message("user", "Hi")),
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_blocks_become_the_messages_of_a_conversation(name: str) -> None:
    given, messages = CONVERSATIONS[name]
    question = asked(*given).question
    assert question.conversation == messages
    assert not question.continues_last


def test_the_system_prompt() -> None:
    assert asked(system="Be brief.").question.conversation[0] == Message("system", "Be brief.")
    billed = text("x-anthropic-billing-header: cc_version=2.1; cch=1a2b3;", "You are an agent.", "Be brief.")
    assert asked(system=billed).question.conversation[0] == Message("system", "You are an agent.\n\nBe brief.")
    assert asked(system=[]).question.conversation == (Message("user", "Hi"),)


def test_an_answer_that_the_client_begins_is_continued() -> None:
    question = asked(HI, {"role": "assistant", "content": "The best is ("}).question
    assert question.continues_last
    assert question.conversation[-1] == Message("assistant", "The best is (")


def test_sampling_and_limits() -> None:
    request = asked(temperature=0.7, top_k=5, top_p=0.4, stop_sequences=["END"], stream=True)
    params = request.generation.params
    assert (params.sampling.temperature, params.sampling.top_k, params.sampling.top_p) == (0.7, 5, 0.4)
    assert (params.max_tokens, params.stop, request.stream) == (9, ("END",), True)
    assert asked().generation.params.sampling.temperature == 0.3


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        (None, ("auto", None, False)),
        ({"type": "disabled"}, ("off", None, False)),
        ({"type": "adaptive", "display": "omitted"}, ("auto", None, True)),
        ({"type": "enabled", "budget_tokens": 2000, "display": "summarized"}, ("on", 2000, False)),
        ({"type": "enabled"}, ("on", None, False)),
    ],
)
def test_thinking(thinking: Any, expected: Any) -> None:
    request = asked(thinking=thinking)
    assert (request.question.reasoning, request.question.budget, request.hides_thinking) == expected


def test_the_output_is_constrained_and_its_effort_reaches_the_template() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    question = asked(output_config={"effort": "high", "format": {"type": "json_schema", "schema": schema}}).question
    assert question.constraint.schema == schema
    assert question.variables == {"reasoning_effort": "high"}
    loose = {"type": "array", "uniqueItems": True, "items": {}}
    with pytest.raises(SchemaError):
        asked(output_config={"format": {"type": "json_schema", "schema": loose}})


@pytest.mark.parametrize(
    ("choice", "names", "mode", "parallel"),
    [
        (None, ("look", "walk"), "auto", True),
        ({"type": "auto", "disable_parallel_tool_use": True}, ("look", "walk"), "auto", False),
        ({"type": "any"}, ("look", "walk"), "required", True),
        ({"type": "tool", "name": "walk", "disable_parallel_tool_use": True}, ("walk",), "required", False),
        ({"type": "none"}, ("look", "walk"), "none", True),
    ],
)
def test_the_choice_among_tools(choice: Any, names: tuple[str, ...], mode: str, parallel: bool) -> None:
    question = asked(tools=[LOOK, WALK], tool_choice=choice).question
    assert tuple(tool.name for tool in question.tools) == names
    assert (question.tool_choice, question.parallel_tool_calls) == (mode, parallel)


def test_what_clients_say_about_themselves_is_accepted() -> None:
    edits = {"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "all"}}]}
    asked(metadata={"user_id": "u"}, service_tier="auto", context_management=edits, mcp_servers=[], container=None)


def test_tokens_are_counted_of_a_request_without_limits() -> None:
    question = read_count({"model": "tiny", "messages": [HI], "tools": [LOOK], "system": "Be brief."})
    assert question.conversation == (Message("system", "Be brief."), Message("user", "Hi"))
    with pytest.raises(UsageError, match="max_tokens is not supported"):
        read_count({"model": "tiny", "messages": [HI], "max_tokens": 5})


def test_images_are_read_where_text_may_be() -> None:
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data_url().partition(",")[2]}}
    red = new_image(8, 4, b"\xff\0\0" * 32)
    content = [block, {"type": "text", "text": "What?"}]
    assert conversation({"role": "user", "content": content}) == (Message("user", (red, "What?")),)
    result = {"type": "tool_result", "tool_use_id": USE["id"], "content": [{"type": "text", "text": "here"}, block]}
    messages = conversation(HI, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [result]})
    assert messages[-1].content == ("here", red)


def conversation(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return read({"model": "m", "max_tokens": 1, "messages": list(messages)}).question.conversation


def image(kind: str = "image") -> dict[str, Any]:
    return {"role": "user", "content": [{"type": kind, "source": {"type": "url", "url": "http://localhost"}}]}


REFUSED = [
    ([], None),
    ({}, "model"),
    ({"model": "m", "max_tokens": 1}, "messages"),
    ({"model": "m", "messages": [HI]}, "max_tokens"),
    ({"model": "m", "max_tokens": 1, "messages": []}, "messages"),
    ({"model": "m", "max_tokens": 1, "messages": [5]}, "messages[0]"),
    ({"model": "m", "max_tokens": "many", "messages": [HI]}, "max_tokens"),
]
WRONG = [
    ({"temprature": 1}, "temprature"),
    ({"top_k": 1.5}, "top_k"),
    ({"stop_sequences": [" "]}, "stop_sequences"),
    ({"service_tier": "priority"}, "service_tier"),
    ({"speed": "fast"}, "speed"),
    ({"container": "c"}, "container"),
    ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
    ({"metadata": {"name": "x"}}, "metadata.name"),
    ({"thinking": {"type": "between_tools"}}, "thinking.type"),
    ({"thinking": {}}, "thinking.type"),
    ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "disabled", "budget_tokens": 9}}, "thinking.budget_tokens"),
    ({"output_config": {"effort": "some"}}, "output_config.effort"),
    ({"output_config": {"format": {"schema": {}}}}, "output_config.format.type"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management.edits"),
    ({"system": [{"type": "image"}]}, "system[0].type"),
    ({"system": 5}, "system"),
    ({"tools": {}}, "tools"),
    ({"tools": [LOOK, LOOK]}, "tools"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"name": "look"}]}, "tools[0].input_schema"),
    ({"tools": [{**LOOK, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"tools": [{**LOOK, "input_examples": [{}]}]}, "tools[0].input_examples"),
    ({"tools": [LOOK], "tool_choice": {"type": "tool", "name": "fly"}}, "tool_choice.name"),
    ({"tools": [LOOK], "tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"tools": [LOOK], "tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"messages": [image()]}, "messages[0].content[0].source.type"),
    ({"messages": [image("document")]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [USE]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "mood": "b"}]}]}, "messages[0].content[0].mood"),
    ({"messages": [{"role": "assistant", "content": [{**USE, "input": "x"}]}]}, "messages[0].content[0].input"),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t9"}]}]},
        "messages[0].content[0].tool_use_id",
    ),
]
REFUSED += [({"model": "m", "max_tokens": 1, "messages": [HI], **wrong}, parameter) for wrong, parameter in WRONG]


@pytest.mark.parametrize(("body", "parameter"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_is_invalid_or_not_supported_is_named(body: Any, parameter: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        read(body)
    assert caught.value.parameter == parameter
    assert "\n" not in str(caught.value)
