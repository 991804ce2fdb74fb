"""Chat templates: messages to a prompt. Works without a model.

    with ChatTemplate(source, bos="<s>", eos="</s>") as template:
        rendered = template.render([Message("user", "Hello")])
        rendered.parts            # tells input from the template's own text, for tokenization
        with AnswerParser(rendered.answer_format) as parser:
            for delta in parser.feed(piece): ...
            answer = parser.finish()

Rendering, formats of tool calls and their parsing are llama.cpp's (`common/chat.h`), reached through the shim.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from llamacli.binding import bridge
from llamacli.engine.chat.builtin_templates import builtin_templates, template_file
from llamacli.engine.chat.media_markers import MediaMarkers
from llamacli.engine.chat.message import Message, check_calls
from llamacli.engine.chat.prompt import Part
from llamacli.engine.chat.rendering import Capabilities, RenderedPrompt, Rendering
from llamacli.engine.chat.tools.names import ToolNames
from llamacli.engine.constraint.trigger import Trigger
from llamacli.engine.runtime.bounds import EXTRA_BYTES, SECONDS, TEMPLATE_MEMORY, bounded, may_end_process
from llamacli.errors import TemplateError, UsageError
from llamacli.gguf.check.template import GO_TEMPLATE, is_go_template

_BAD_ARGUMENTS = "Failed to parse tool call arguments"
"""The start of llama.cpp's message about an earlier call, which has no location."""
_SECOND_CALL = re.compile(r"^((?:tool-calls|tools) ::= \((?:tool-call space|tool-[^\n]*)\))\+", re.MULTILINE)
"""The rule of llama.cpp's grammars that allows several calls where one was requested."""


class ChatTemplate:
    """A chat template: Jinja text, or the name of one of llama.cpp's built-in templates (`builtin_templates`).

    `tool_use` is a variant for prompts with tools, which some models have. Templates come from models, which are not trusted:
    unless the process may end (`bounds`), a copy of it renders, for at most `seconds` of processor time and with 200 MiB more
    memory. One thread at a time.

    Raises (when built):
        TemplateError: if the template does not parse, or does not end.
    """

    def __init__(
        self, source: str, *, bos: str = "", eos: str = "", tool_use: str | None = None, seconds: float = SECONDS
    ) -> None:
        if not source.strip():
            raise TemplateError("the chat template is empty")
        source = template_file(source) or source
        if "{" not in source and source not in (known := builtin_templates()):  # as Jinja text it would print itself
            raise TemplateError(
                f"unknown built-in chat template {source.split(maxsplit=1)[0][:60]!r}", hint=_near(source, known)
            )
        self._seconds = seconds
        request = {"source": source, "bos": bos, "eos": eos, "tool_use": tool_use, "limits": self._limits()}
        try:
            with bounded("template"):
                self._chat = bridge.Chat(request)
        except TemplateError as error:
            if not is_go_template(source):
                raise
            hint = "use the Jinja template of the model, or the name of a built-in template"
            raise TemplateError(f"the chat template {GO_TEMPLATE}", hint=hint) from error
        self.is_builtin: bool = self._chat.description["builtin"]
        self.capabilities = _capabilities(self._chat.description["capabilities"])

    def render(self, messages: Sequence[Message], rendering: Rendering | None = None) -> RenderedPrompt:
        """Render the prompt for `messages`.

        Raises:
            TemplateError: if the template rejects them (roles that do not alternate, for example), or fails.
            UsageError: if there are no messages, or the template cannot write the arguments of an earlier tool call.
        """
        if not messages:
            raise UsageError("no messages")
        rendering = rendering or Rendering()
        names, markers = ToolNames(rendering.tools), MediaMarkers(messages)
        if self.is_builtin:
            messages = [markers.flattened(message) for message in messages]
        size = sum(len(message.text) for message in messages)
        try:
            with bounded("template", size):
                answer = self._chat.render({**_request(messages, rendering, names, markers), "limits": self._limits(size)})
        except TemplateError as error:
            if error.message.startswith(_BAD_ARGUMENTS):
                check_calls(messages)
            raise
        return RenderedPrompt(
            parts=markers.resolve(tuple(Part(text, is_input) for text, is_input in answer["parts"])),
            grammar=_grammar(answer["grammar"], rendering),
            grammar_lazy=answer["grammar_lazy"],
            triggers=tuple(Trigger(trigger["kind"], trigger["value"]) for trigger in answer["triggers"]),
            preserved_tokens=tuple(answer["preserved_tokens"]),
            stops=tuple(answer["stops"]),
            generation_prompt=answer["generation_prompt"],
            supports_thinking=answer["supports_thinking"],
            thinking_start=answer["thinking_start"],
            thinking_ends=tuple(answer["thinking_ends"]),
            answer_format={
                "format": answer["format"],
                "parser": answer["parser"],
                "generation_prompt": answer["generation_prompt"],
                "reasoning_format": rendering.reasoning_format,
                "original_names": names.originals(),
                "most_calls": None if rendering.parallel_tool_calls else 1,
                "marks": _marks(answer),
            },
        )

    def _limits(self, size: int = 0) -> dict[str, float] | None:
        """Return the limits of a copy of this process; None if the work may end the process itself."""
        return None if may_end_process() else {"seconds": self._seconds, "bytes": EXTRA_BYTES + size * TEMPLATE_MEMORY}

    def close(self) -> None:
        """Free the template."""
        self._chat.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"built in are {', '.join(known)}"


def _capabilities(given: Mapping[str, bool]) -> Capabilities:
    return Capabilities(
        system_role=given.get("supports_system_role", False),
        tools=given.get("supports_tools", False),
        tool_calls=given.get("supports_tool_calls", False),
        parallel_tool_calls=given.get("supports_parallel_tool_calls", False),
        string_content=given.get("supports_string_content", False),
        typed_content=given.get("supports_typed_content", False),
        reasoning_effort=given.get("supports_reasoning_effort", False),
        preserves_reasoning=given.get("supports_preserve_reasoning", False),
    )


def _marks(answer: Mapping[str, Any]) -> list[str]:
    """Return the texts of an answer's format that are neither content nor the start of a tool call."""
    starts = [trigger["value"] for trigger in answer["triggers"] if trigger["kind"] == "word"]
    marks = [answer["thinking_start"], *answer["thinking_ends"], *answer["preserved_tokens"]]
    return [mark for mark in marks if mark.strip() and not any(mark.strip() in start for start in starts)]


def _grammar(text: str, rendering: Rendering) -> str | None:
    """Return the grammar of an answer, with a single tool call unless several may be made."""
    return (text if rendering.parallel_tool_calls else _SECOND_CALL.sub(r"\1", text)) or None


def _request(messages: Sequence[Message], rendering: Rendering, names: ToolNames, markers: MediaMarkers) -> dict[str, Any]:
    return {
        "messages": [(names.message(message) if names.changes else message).to_json(markers.part) for message in messages],
        "tools": [names.tool(tool).to_json() for tool in rendering.tools] or None,
        "tool_choice": rendering.tool_choice,
        "parallel_tool_calls": rendering.parallel_tool_calls,
        "add_generation_prompt": rendering.add_generation_prompt and rendering.continue_final_message is None,
        "continue_final_message": True if rendering.continue_final_message == "auto" else rendering.continue_final_message,
        "enable_thinking": rendering.enable_thinking,
        "reasoning_format": rendering.reasoning_format,
        "chat_template_kwargs": dict(rendering.variables) if rendering.variables else None,
    }
