"""What `run` asks, read and checked before a model is loaded, and put to the model when it is there."""

from __future__ import annotations

import io
import itertools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.files import STDIN, parse_json, read_json_file, read_prompt, read_text_file
from llamacli.cli.framework.options import ChatOptions
from llamacli.cli.run.constraint import Held
from llamacli.cli.run.options import PromptOptions, ReasoningOptions, ToolOptions
from llamacli.errors import TemplateError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.chat.message import Message, Tool
    from llamacli.engine.chat.template import Rendering, ToolChoice
    from llamacli.engine.chat.turn import Turn
    from llamacli.engine.engine import Engine

logger = logging.getLogger(__name__)

_SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: `text` to be answered or continued, or a `conversation`, or a gap between two texts."""

    text: str = ""
    conversation: tuple[Message, ...] = ()
    gap: tuple[str, str] | None = None
    system: str | None = None
    template: str | None = None
    raw: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = False
    reasoning: str = "auto"
    budget: int | None = None

    @property
    def is_text(self) -> bool:
        """Whether text is continued or filled in as it is."""
        return self.raw or self.gap is not None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation, the system prompt at its beginning, in the place of its own, and the text at its end."""
        from llamacli.engine.chat.message import Message

        system: tuple[Message, ...] = ()
        conversation = self.conversation
        if self.system is not None:
            system = (Message("system", self.system),)
            conversation = tuple(itertools.dropwhile(lambda message: message.role in _SYSTEM_ROLES, conversation))
        return (*system, *conversation, *((Message("user", self.text),) if self.text else ()))


def read_question(
    console: Console,
    prompt: str | None,
    source: PromptOptions,
    chat: ChatOptions,
    tools: ToolOptions,
    reasoning: ReasoningOptions,
) -> Question:
    """The question that the options ask.

    Raises:
        UsageError: they contradict each other, or there is nothing to ask, or a file cannot be read.
    """
    template = chat.template()
    _check_together(source, chat, tools)
    common: dict[str, Any] = {"system": chat.system_prompt, "template": template, "raw": source.raw}
    if source.infill is not None or source.at is not None:
        return Question(gap=_read_gap(console, prompt, source), **common)
    if reasoning.reasoning != "auto" or reasoning.reasoning_budget is not None:
        common |= {"reasoning": reasoning.reasoning, "budget": reasoning.reasoning_budget}
    if tools.tools is not None:
        common |= _read_tools(console, tools)
    if source.messages is None:
        return Question(text=read_prompt(console, prompt, source.file, raw=source.raw), **common)
    conversation = _read_messages(console, source.messages)
    text = read_prompt(console, prompt, source.file, raw=False) if prompt is not None or source.file else ""
    if not text and conversation[-1].role == "assistant":
        raise UsageError("the last message is the assistant's: there is nothing to answer")
    return Question(text=text, conversation=conversation, **common)


def read_base(
    console: Console,
    prompt: str | None,
    source: PromptOptions,
    chat: ChatOptions,
    tools: ToolOptions,
    reasoning: ReasoningOptions,
) -> Question:
    """What all rows of an input have in common.

    Raises:
        UsageError: a prompt of its own, or options that are for one prompt.
    """
    for given, name in (
        (prompt, "PROMPT"), (source.file, "-f"), (source.messages, "--messages"), (source.infill, "--infill"),
        (source.at, "--at"), (source.dry_run, "--dry-run"),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{name} has no place beside --input", hint="--template makes prompts from the fields of rows")
    _check_together(source, chat, tools)
    return Question(
        system=chat.system_prompt,
        template=chat.template(),
        raw=source.raw,
        reasoning=reasoning.reasoning,
        budget=reasoning.reasoning_budget,
        **(_read_tools(console, tools) if tools.tools is not None else {}),
    )


def _check_together(source: PromptOptions, chat: ChatOptions, tools: ToolOptions) -> None:
    gap = source.infill is not None or source.at is not None
    if source.raw and (chat.system_prompt is not None or chat.chat_template is not None):
        raise UsageError("--raw uses no chat template: -sys and --chat-template have no place in it")
    if (source.raw or gap) and (source.messages is not None or tools.tools is not None):
        raise UsageError(f"{'--infill' if gap else '--raw'} uses no chat template: --messages and --tools have no place in it")
    if source.infill is not None and (source.at is not None or source.file):
        raise UsageError("--infill takes its texts from the command line, --at from a file: give one of them")
    if tools.tools is None and tools.tool_choice not in ("auto", "none"):
        raise UsageError("--tool-choice needs --tools")


def _read_gap(console: Console, prompt: str | None, source: PromptOptions) -> tuple[str, str]:
    if source.infill is not None:
        if prompt is None:
            raise UsageError("--infill needs two texts", hint="llamacli run --infill PREFIX SUFFIX")
        return source.infill, prompt
    if len(source.file) != 1 or prompt is not None or source.at is None:
        raise UsageError("--at needs one file and no prompt", hint="llamacli run -f FILE --at LINE:COL")
    name = source.file[0]
    text = console.read_input() if str(name) == STDIN else read_text_file(name)
    line, column = source.at
    lines = list(io.StringIO(text, newline=""))  # lines as editors count them
    here = lines[line - 1].rstrip("\r\n") if line <= len(lines) else ""
    if line > len(lines) + 1 or column > len(here) + 1:
        raise UsageError(f"{'standard input' if str(name) == STDIN else name} has no place {line}:{column}")
    before = sum(map(len, lines[: line - 1])) + column - 1
    return text[:before], text[before:]


def _read_json(console: Console, path: Path) -> Any:
    return parse_json(console.read_input(), str(path)) if str(path) == STDIN else read_json_file(path)


def _read_messages(console: Console, path: Path) -> tuple[Message, ...]:
    """The messages of a list, or of an object that has one, as a request of OpenAI's does."""
    from llamacli.engine.chat.message import check_calls, read_messages

    document = _read_json(console, path)
    try:
        messages = read_messages(document.get("messages") if isinstance(document, dict) else document)
        check_calls(messages)
        return messages
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}") from error


def _read_tools(console: Console, options: ToolOptions) -> dict[str, Any]:
    from llamacli.engine.chat.message import choose_tools, read_tools
    from llamacli.engine.constraint.schema import check_tools

    path = options.tools
    assert path is not None
    document = _read_json(console, path)
    try:
        tools = read_tools(document.get("tools") if isinstance(document, dict) else document)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}") from error
    if not tools:
        raise UsageError(f"{path} has no tools")
    check_tools(tools)
    tools, choice = choose_tools(tools, options.tool_choice)
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": options.parallel_tool_calls}


def build_turn(engine: Engine, question: Question, held: Held | None) -> Turn:
    """The prompt in tokens, through a chat template if there is one, and what holds the answer.

    Raises:
        TemplateError: the model's own template does not parse, or refuses the messages.
        UsageError: a template that was given does so, or the question has no place in this model.
    """
    constraint = held.constraint if held is not None else None
    if question.gap is not None:
        return engine.infill_turn(*question.gap, constraint)
    if question.raw:
        return engine.text_turn(question.text, constraint)
    if question.template is None and not engine.has_chat_template:
        if question.system is not None:
            raise UsageError("this model has no chat template, so -sys has no place", hint="--chat-template names one")
        if question.conversation or question.tools:
            raise UsageError(
                "this model has no chat template, so --messages and --tools have no place", hint="--chat-template names one"
            )
        logger.info("this model has no chat template: the text is continued as it is")
        return engine.text_turn(question.text, constraint)
    try:
        turn = engine.chat_turn(
            question.messages, _rendering(question), template=question.template, constraint=constraint, budget=question.budget
        )
    except TemplateError as error:
        if question.template is None:
            raise
        raise UsageError(f"--chat-template: {error.message}", hint=error.hint) from error  # the model is sound
    if (question.reasoning == "on" or question.budget is not None) and not turn.thinks:
        logger.warning("this chat template knows no thinking: --reasoning and --reasoning-budget have no effect")
    return turn


def _rendering(question: Question) -> Rendering:
    from llamacli.engine.chat.template import Rendering

    return Rendering(
        tools=question.tools,
        tool_choice=question.tool_choice,
        parallel_tool_calls=question.parallel_tool_calls,
        enable_thinking=question.reasoning != "off",
    )
