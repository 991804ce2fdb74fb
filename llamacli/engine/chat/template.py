"""Chat templates: messages to a prompt, and a model's answer back to a message. Works without a model.

    with ChatTemplate(source, bos="<s>", eos="</s>") as template:
        rendered = template.render([Message("user", "Hello")])
        rendered.parts            # which text came from input, for tokenization
        with rendered.parser() as parser:
            for delta in parser.feed(piece): ...
            answer = parser.finish()

Rendering, tool-call formats and their parsing are llama.cpp's (`common/chat.h`), reached through the shim.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from llamacli.binding import bridge
from llamacli.binding.location import find_folder
from llamacli.engine.chat.message import Message, Tool, ToolCall, check_calls
from llamacli.engine.chat.prompt import Part
from llamacli.engine.constraint.trigger import Trigger
from llamacli.engine.events import Delta, ToolCallDelta
from llamacli.errors import ConstraintError, TemplateError, UsageError
from llamacli.gguf.check.template import GO_TEMPLATE, is_go_template

ToolChoice = Literal["auto", "none", "required"]
Continuation = Literal["auto", "content", "reasoning_content"]
ReasoningFormat = Literal["deepseek", "none"]

_BAD_ARGUMENTS = "Failed to parse tool call arguments"
"""How llama.cpp's complaint about an earlier call begins, which does not say where it stands."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a template does with what it is given.

    `tools`: it describes tools itself; `tool_calls`: it renders earlier calls; `typed_content`: it takes content as a list
    of parts; `preserves_reasoning`: of all earlier answers, not of the last alone.
    """

    system_role: bool = False
    tools: bool = False
    tool_calls: bool = False
    parallel_tool_calls: bool = False
    string_content: bool = False
    typed_content: bool = False
    reasoning_effort: bool = False
    preserves_reasoning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How a prompt is rendered.

    `json_schema` and `grammar` (GBNF) constrain the answer; a schema and tools may come together, a grammar and tools not.
    `continue_final_message`: the last message is the beginning of the answer, of its content or its reasoning.
    `reasoning_format`: "none" leaves the reasoning in the content. `variables` are given to the template as they are.
    """

    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = False
    json_schema: Any = None
    grammar: str | None = None
    add_generation_prompt: bool = True
    continue_final_message: Continuation | None = None
    enable_thinking: bool = True
    reasoning_format: ReasoningFormat = "deepseek"
    variables: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.grammar is not None and (self.json_schema is not None or (self.tools and self.tool_choice != "none")):
            raise UsageError("a grammar cannot be combined with a JSON schema or with tools")
        if self.tool_choice == "required" and not self.tools:
            raise UsageError("tool_choice is required, but there are no tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """A rendered prompt, and what belongs to the answer.

    `grammar`: GBNF for the answer, or None; a lazy one begins with a trigger. `preserved_tokens`: texts of control tokens that
    the parser needs to see in the answer. `stops`: texts that end it. `generation_prompt`: the end of the prompt, which begins
    the answer. `thinking_start` and `thinking_ends` enclose reasoning, where the template has such tags.
    """

    parts: tuple[Part, ...]
    grammar: str | None
    grammar_lazy: bool
    triggers: tuple[Trigger, ...]
    preserved_tokens: tuple[str, ...]
    stops: tuple[str, ...]
    generation_prompt: str
    supports_thinking: bool
    thinking_start: str
    thinking_ends: tuple[str, ...]
    answer_format: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The whole prompt."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The text of an answer, parsed. `well_formed` is False for text outside the model's own format: all of it is content."""

    content: str
    reasoning_content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    well_formed: bool = True


class ChatTemplate:
    """A chat template: Jinja text, or the name of one of llama.cpp's built-in templates (`builtin_templates`).

    `tool_use` is a variant for prompts with tools, which some models bring. `seconds`: how long it may run, as it comes with a
    model that anybody may have written. One thread at a time.

    Raises:
        TemplateError: the template does not parse, or does not come to an end.
    """

    def __init__(
        self, source: str, *, bos: str = "", eos: str = "", tool_use: str | None = None, seconds: float = 10.0
    ) -> None:
        if not source.strip():
            raise TemplateError("the chat template is empty")
        source = _file_template(source) or source
        if "{" not in source and source not in (known := builtin_templates()):  # Jinja text would print the word itself
            raise TemplateError(
                f"there is no built-in chat template {source.split(maxsplit=1)[0][:60]}", hint=_near(source, known)
            )
        self._seconds = seconds
        try:
            self._chat = bridge.Chat({"source": source, "bos": bos, "eos": eos, "tool_use": tool_use, "seconds": seconds})
        except TemplateError as error:
            if not is_go_template(source):
                raise
            hint = "use the Jinja template of the model, or the name of a built-in template"
            raise TemplateError(f"the chat template {GO_TEMPLATE}", hint=hint) from error
        self.is_builtin: bool = self._chat.description["builtin"]
        self.capabilities = _capabilities(self._chat.description["capabilities"])

    def render(self, messages: Sequence[Message], rendering: Rendering | None = None) -> RenderedPrompt:
        """The prompt for `messages`.

        Raises:
            TemplateError: the template refuses them (roles that do not alternate, for example), or fails.
            UsageError: there are no messages, or an earlier call of a tool has arguments that the template cannot write.
        """
        if not messages:
            raise UsageError("there are no messages")
        rendering = rendering or Rendering()
        try:
            answer = self._chat.render({**_request(messages, rendering), "seconds": self._seconds})
        except TemplateError as error:
            if error.message.startswith(_BAD_ARGUMENTS):
                check_calls(messages)
            raise
        return RenderedPrompt(
            parts=tuple(Part(text, is_input) for text, is_input in answer["parts"]),
            grammar=answer["grammar"] or None,
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
            },
        )

    def close(self) -> None:
        """Frees the template."""
        self._chat.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AnswerParser:
    """Parses one answer while it grows.

    llama.cpp parses an answer from its beginning each time. So that a long answer does not take longer and longer for each
    piece, no parse begins until several times what the last one took has gone by; what was held back comes with the next.
    """

    PAUSE = 8.0
    """How long to wait for the next parse, as a multiple of what the last one took."""

    def __init__(self, answer_format: Mapping[str, Any]) -> None:
        self._parser = bridge.Parser(answer_format)
        self._pieces: list[str] = []
        self._shown = ["", ""]  # the reasoning and the content that deltas told
        self._next = 0.0

    def feed(self, text: str) -> tuple[Delta, ...]:
        """Adds text to the answer: what became certain with it, often nothing."""
        self._pieces.append(text)
        begin = time.monotonic()
        if begin < self._next:
            return ()
        try:
            deltas = self._deltas(self._parse(partial=True))
        except ConstraintError:
            deltas = ()  # it may still become well-formed; `finish` tells
        now = time.monotonic()
        self._next = now + self.PAUSE * (now - begin)
        return deltas

    def finish(self, *, complete: bool = True) -> tuple[ParsedAnswer, tuple[Delta, ...]]:
        """The whole answer, and what was not yet in the deltas. `complete` is False when it was cut off."""
        try:
            parsed = self._parse(partial=not complete)
        except ConstraintError:
            text = "".join(self._pieces)
            rest = self._rest(text)
            return ParsedAnswer(text, well_formed=False), (Delta(rest),) if rest else ()
        return _answer(parsed), self._deltas(parsed)

    def _deltas(self, parsed: Mapping[str, Any]) -> tuple[Delta, ...]:
        deltas = tuple(_delta(delta) for delta in parsed["deltas"])
        self._shown[0] += "".join(delta.reasoning_content for delta in deltas)
        self._shown[1] += "".join(delta.content for delta in deltas)
        return deltas

    def _rest(self, text: str) -> str:
        """The text behind what deltas told of it."""
        at = 0
        for shown in self._shown:
            found = text.find(shown, at)
            at = at if found < 0 else found + len(shown)
        return text[at:]

    def _parse(self, *, partial: bool) -> bridge.Json:
        text = "".join(self._pieces)
        self._pieces = [text]
        return self._parser.parse(text, partial=partial)

    def close(self) -> None:
        """Frees the parser."""
        self._parser.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def builtin_templates() -> tuple[str, ...]:
    """The names of llama.cpp's built-in chat templates, which `ChatTemplate` takes in place of Jinja text."""
    return (*bridge.chat_builtins(), *(path.stem for path in _template_files()))


def _template_files() -> list[Path]:
    """Templates that were installed with the libraries, because llama.cpp has them only as files of its tree."""
    return sorted((find_folder() / "templates").glob("*.jinja"))


def _file_template(name: str) -> str | None:
    return next((path.read_text(encoding="utf-8") for path in _template_files() if path.stem == name), None)


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


def _request(messages: Sequence[Message], rendering: Rendering) -> dict[str, Any]:
    return {
        "messages": [message.to_json() for message in messages],
        "tools": [tool.to_json() for tool in rendering.tools] or None,
        "tool_choice": rendering.tool_choice,
        "parallel_tool_calls": rendering.parallel_tool_calls,
        "json_schema": rendering.json_schema,
        "grammar": rendering.grammar,
        "add_generation_prompt": rendering.add_generation_prompt and rendering.continue_final_message is None,
        "continue_final_message": True if rendering.continue_final_message == "auto" else rendering.continue_final_message,
        "enable_thinking": rendering.enable_thinking,
        "reasoning_format": rendering.reasoning_format,
        "chat_template_kwargs": dict(rendering.variables) if rendering.variables else None,
    }


def _answer(parsed: Mapping[str, Any]) -> ParsedAnswer:
    calls = tuple(ToolCall(call["name"], call["arguments"], id=call["id"] or None) for call in parsed["tool_calls"])
    return ParsedAnswer(parsed["content"], parsed["reasoning_content"], calls)


def _delta(delta: Mapping[str, Any]) -> Delta:
    call = delta.get("tool_call")
    change = ToolCallDelta(call["index"], call["id"], call["name"], call["arguments"]) if call else None
    return Delta(delta["content"], delta["reasoning_content"], change)
