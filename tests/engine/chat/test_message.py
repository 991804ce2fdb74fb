"""Earlier calls of tools in a conversation that a template cannot write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import invoke

from llamacli.engine.chat.message import Message, ToolCall, check_calls, read_messages
from llamacli.engine.chat.template import ChatTemplate
from llamacli.errors import UsageError

TEMPLATES = Path(__file__).parents[3] / "vendor" / "llama.cpp" / "models" / "templates"


def conversation(arguments: object) -> list[dict[str, object]]:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    return [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "there"},
    ]


BROKEN = [
    ("{bad", "message 2, tool call 1: the arguments: invalid JSON at line 1, column 2: expecting property name"),
    ("5", "message 2, tool call 1: the arguments are not a JSON object"),
    (
        '{"a": ' + "1" * 5000 + "}",
        "message 2, tool call 1: the arguments: invalid JSON at line 1, column 7: an integer has more than 4300 digits",
    ),
    ([1], "message 2, tool call 1: the arguments are not a JSON object"),
]


@pytest.mark.parametrize(("arguments", "says"), BROKEN, ids=["syntax", "number", "digits", "list"])
def test_broken_arguments_are_told_with_their_place(tmp_path, arguments, says):
    messages = read_messages(conversation(arguments))  # a model's own call may be broken: reading lets it pass
    with pytest.raises(UsageError) as caught:
        check_calls(messages)
    assert caught.value.message.startswith(says)
    file = tmp_path / "m.json"
    file.write_text(json.dumps(conversation(arguments)))
    result = invoke("run", "--messages", str(file))
    assert (result.status, result.engine.path, result.stderr.count("\n")) == (2, None, 1)
    assert result.stderr.startswith(f"llamacli: error: {file}: {says}")


@pytest.mark.parametrize("arguments", [{}, {"a": 1}, "{}", '{"a": [1]}', ""])
def test_sound_arguments(arguments):
    check_calls(read_messages(conversation(arguments)))


def test_a_template_that_needs_an_object_says_which_call_has_none():
    template = (TEMPLATES / "Qwen-Qwen2.5-7B-Instruct.jinja").read_text()
    asked = Message("user", "Where?")
    with ChatTemplate(template) as chat:
        broken = Message("assistant", None, (ToolCall("look", "{}"), ToolCall("look", "{bad")))
        with pytest.raises(UsageError, match="message 3, tool call 2: the arguments: invalid JSON"):
            chat.render([Message("system", "Be brief."), asked, broken])
        assert '"arguments": {}' in chat.render([asked, Message("assistant", None, (ToolCall("look", ""),))]).text


def test_the_system_prompt_takes_the_place_of_that_of_the_conversation(tmp_path):
    file = tmp_path / "m.json"
    user = {"role": "user", "content": "Hi"}
    file.write_text(json.dumps([{"role": "system", "content": "Old."}, user]))
    assert invoke("run", "--messages", str(file)).engine.messages == [{"role": "system", "content": "Old."}, user]
    replaced = invoke("run", "--messages", str(file), "-sys", "New.")
    assert replaced.engine.messages == [{"role": "system", "content": "New."}, user]
