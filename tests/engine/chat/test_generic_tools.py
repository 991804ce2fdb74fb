"""Tools for chat templates that know none."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamacli.engine.chat.answers.parser import AnswerParser
from llamacli.engine.chat.chat_turn import chat_turn
from llamacli.engine.chat.message import Message, Tool, ToolCall
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.chat.tools.generic import render
from llamacli.engine.constraint.guide import Guide
from llamacli.engine.runtime.model import Model

WEATHER = Tool(
    "get_weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
PLAIN = ("chatml", "vicuna", "gemma", "mistral-v1", "zephyr")
QUESTION = [Message("user", "Is it raining?")]


@pytest.mark.parametrize("name", PLAIN)
def test_the_prompt_describes_the_tools_and_the_answer_is_parsed(name: str) -> None:
    with ChatTemplate(name) as template:
        rendered = render(template, QUESTION, Rendering(tools=(WEATHER,)))
        plain = template.render(QUESTION)
    assert "The weather" in rendered.text
    assert "<tool_call>" in rendered.text
    assert rendered.text.endswith(plain.text[-10:])
    assert rendered.stops == plain.stops
    with AnswerParser(rendered.answer_format) as parser:
        parser.feed("One moment. " + CALL)
        answer, _ = parser.finish()
    assert answer.content.strip() == "One moment."
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("get_weather", '{"city": "Paris"}')]


@pytest.mark.parametrize("name", PLAIN)
def test_calls_and_results_are_written_as_text(name: str) -> None:
    call = ToolCall("get_weather", '{"city": "Paris"}', id="1")
    messages = [*QUESTION, Message("assistant", None, (call,)), *[Message("tool", text, tool_call_id="1") for text in "ab"]]
    with ChatTemplate(name) as template:
        for rendering in (Rendering(), Rendering(tools=(WEATHER,)), Rendering(tools=(WEATHER,), tool_choice="none")):
            text = render(template, messages, rendering).text
            assert CALL in text
            assert "<tool_response>\na\n</tool_response>\n<tool_response>\nb\n</tool_response>" in text
            assert ("The weather" in text) == (rendering.tool_choice == "auto" and bool(rendering.tools))


def test_a_system_message_keeps_its_place() -> None:
    messages = [Message("system", "Be brief."), *QUESTION]
    with ChatTemplate("chatml") as template:
        text = render(template, messages, Rendering(tools=(WEATHER,))).text
    assert text.count("<|im_start|>system") == 1
    assert text.index("Be brief.") < text.index("get_weather") < text.index("Is it raining?")


def test_a_required_call_is_forced_and_none_never_fails(tiny_model: Path) -> None:
    with Model(tiny_model) as model, ChatTemplate("vicuna") as template:
        turn = chat_turn(model.vocabulary, template, QUESTION, Rendering(tools=(WEATHER,), tool_choice="required"))
        assert turn.guidance is not None
        guide = Guide(model, turn.guidance)
        assert guide._matcher is not None
        assert not guide._matcher.accept_text(b"It rains")
        guide.close()
        guide = Guide(model, turn.guidance)
        assert guide.would_satisfy(CALL)
        guide.close()
        assert chat_turn(model.vocabulary, template, QUESTION, Rendering(tools=(WEATHER,), tool_choice="none")).guidance is None
