"""Tools for chat templates that know none: described in the system message, and called in one form by every model.

The form is that of Nous Research's Hermes models, which llama.cpp constrains and parses. A small template of that form gives
the grammar and the parser of the answer; the prompt is rendered by the model's own template.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from llamacli.engine.chat.message import Message, Tool, ToolCall
from llamacli.engine.chat.rendering import PromptTemplate, RenderedPrompt, Rendering
from llamacli.engine.chat.template import ChatTemplate

_FORM = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content -%}{{- message.content -}}{%- endif -%}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if tools -%}{{- tools | tojson -}}{%- endif -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

_INTRODUCTION = "You can call the following functions. Each line describes one as JSON:"
_INSTRUCTION = (
    "To call a function, answer with its name and its arguments as JSON in this form:\n"
    '<tool_call>\n{"name": "NAME", "arguments": {"PARAMETER": "VALUE"}}\n</tool_call>'
)


def knows_tools(template: PromptTemplate) -> bool:
    """Return whether a template describes tools itself, or renders their calls."""
    return template.capabilities.tools or template.capabilities.tool_calls


def render(template: PromptTemplate, messages: Sequence[Message], rendering: Rendering) -> RenderedPrompt:
    """Return the prompt of a template that knows no tools, with the grammar and the format of calls in the generic form.

    Raises:
        TemplateError: if the template refuses the messages.
    """
    uses_tools = bool(rendering.tools) and rendering.tool_choice != "none"
    plain = dataclasses.replace(rendering, tools=(), tool_choice="auto")
    written = _written(messages)
    if not uses_tools:
        return template.render(written, plain)
    prompt = template.render(_described(written, rendering.tools, has_system=template.capabilities.system_role), plain)
    with ChatTemplate(_FORM) as form:
        called = form.render([Message("user", "-")], rendering)
    return dataclasses.replace(called, parts=prompt.parts, stops=prompt.stops)


def _described(messages: Sequence[Message], tools: Sequence[Tool], *, has_system: bool) -> list[Message]:
    """Return the messages with the description of the tools: in the system message, or before the first message."""
    lines = [json.dumps(tool.to_json()["function"], ensure_ascii=False) for tool in tools]
    text = "\n".join([_INTRODUCTION, *lines, "", _INSTRUCTION])
    first, *rest = messages
    if has_system and first.role != "system":
        return [Message("system", text), *messages]
    content = f"{first.text}\n\n{text}" if first.role == "system" else f"{text}\n\n{first.text}"
    return [dataclasses.replace(first, content=content), *rest]


def _written(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with earlier calls and their results as text, which any template renders."""
    found: list[Message] = []
    for message in messages:
        if message.role == "tool":
            text = f"<tool_response>\n{message.text}\n</tool_response>"
            if found and found[-1].role == "user" and found[-1].text.endswith("</tool_response>"):
                text = f"{found.pop().text}\n{text}"
            found.append(Message("user", text))
        elif message.tool_calls:
            calls = "\n".join(map(_call, message.tool_calls))
            content = f"{message.text}\n{calls}" if message.text else calls
            found.append(dataclasses.replace(message, content=content, tool_calls=()))
        else:
            found.append(message)
    return found


def _call(call: ToolCall) -> str:
    return f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments or "{}"}}}\n</tool_call>'
