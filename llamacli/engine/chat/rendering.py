"""The rendering of a prompt: what a chat template is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from llamacli.engine.chat.message import Message, Tool
from llamacli.engine.chat.prompt import Part
from llamacli.engine.constraint.trigger import Trigger
from llamacli.errors import UsageError
from llamacli.values import dataclass

ToolChoice = Literal["auto", "none", "required"]
Continuation = Literal["auto", "content", "reasoning_content"]
ReasoningFormat = Literal["deepseek", "none"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The features of a template.

    `tools`: it describes tools itself; `tool_calls`: it renders earlier calls; `typed_content`: it accepts content as a list of
    parts; `preserves_reasoning`: it renders the reasoning of all earlier answers, not only of the last one.
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
    """Parameters of a prompt.

    `continue_final_message`: the last message is the start of the answer, of its content or its reasoning. `reasoning_format`:
    "none" leaves the reasoning in the content. `variables` are passed to the template.
    """

    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = False
    add_generation_prompt: bool = True
    continue_final_message: Continuation | None = None
    enable_thinking: bool = True
    reasoning_format: ReasoningFormat = "deepseek"
    variables: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.tool_choice == "required" and not self.tools:
            raise UsageError("tool_choice is required, but no tools are given", parameter="tool_choice")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    """A rendered prompt, and what its answer needs.

    `grammar`: GBNF for the answer, or None; a lazy one starts at a trigger. `preserved_tokens`: texts of control tokens that
    the parser needs in the answer. `stops`: texts that end it. `generation_prompt`: the end of the prompt, which starts the
    answer. `thinking_start` and `thinking_ends` enclose reasoning, if the template has such tags. `answer_format` is for
    `AnswerParser`.
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


class PromptTemplate(Protocol):
    """Something that renders messages to a prompt: a `ChatTemplate`, or a program in its place."""

    @property
    def capabilities(self) -> Capabilities:
        """The features of the template."""

    def render(self, messages: Sequence[Message], rendering: Rendering | None = None) -> RenderedPrompt:
        """Render the prompt for `messages`. Raises TemplateError if the template refuses them."""


def plain_prompt(text: str, stops: tuple[str, ...] = ()) -> RenderedPrompt:
    """Return a rendered prompt without tools, reasoning and input marks."""
    return RenderedPrompt(
        parts=(Part(text, False),),
        grammar=None,
        grammar_lazy=False,
        triggers=(),
        preserved_tokens=(),
        stops=stops,
        generation_prompt="",
        supports_thinking=False,
        thinking_start="",
        thinking_ends=(),
        answer_format={},
    )
