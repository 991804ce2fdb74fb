"""The question of `run`, read from its options and checked before a model is loaded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.inputs.files import STDIN, read_json_file, read_text_file
from llamacli.cli.framework.inputs.prompt import read_prompt
from llamacli.cli.framework.options import ChatOptions, TemplateOptions
from llamacli.cli.framework.settings.settings import is_model_name
from llamacli.cli.framework.settings.templates import fill_template
from llamacli.cli.run.options import Asked, PromptOptions, ToolOptions
from llamacli.engine.chat.message import Message, check_calls, choose_tools, read_messages, read_tools
from llamacli.engine.chat.question import Question
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.errors import UsageError
from llamacli.json_text import parse_json

if TYPE_CHECKING:
    from llamacli.cli.framework.settings.filled_template import FilledTemplate


def read_question(console: Console, prompt: str | None, asked: Asked, constraint: AnswerConstraint | None) -> Question:
    """Return the question of the options, without the tools that run (see `runnable_tools`).

    Raises:
        UsageError: if they contradict each other, the prompt is empty, or a file cannot be read.
    """
    source, chat, tools, reasoning = asked.source, asked.chat, asked.tools, asked.reasoning
    template = chat.template()
    _check_together(source, chat, tools)
    common: dict[str, Any] = {
        "system": chat.system_prompt,
        "template": template,
        "raw": source.raw,
        "constraint": constraint,
    }
    filled = fill_template(console, asked.template)
    if prompt is not None and is_model_name(prompt):
        console.warn(f"{prompt} is the name of a model, but is read as the prompt (-m {prompt} selects it)")
    if source.infill is not None or source.at is not None:
        if filled is not None:
            raise UsageError("-T cannot be used with --infill and --at")
        return Question(gap=_read_gap(console, prompt, source), **common)
    if reasoning.reasoning != "auto" or reasoning.reasoning_budget is not None:
        common |= {"reasoning": reasoning.reasoning, "budget": reasoning.reasoning_budget}
    if tools.tools is not None and not tools.run_tools:
        common |= _read_tools(console, tools)
    if source.messages is None:
        opening = filled.messages if filled is not None else ()
        return Question(text=_read_text(console, prompt, asked, filled), conversation=opening, **common)
    conversation = _read_messages(console, source.messages)
    is_given = prompt is not None or source.file or (filled is not None and filled.template.prompt is not None)
    text = _read_text(console, prompt, asked, filled) if is_given else ""
    if not text and conversation[-1].role == "assistant":
        raise UsageError("the last message is from the assistant: nothing to answer")
    return Question(text=text, conversation=conversation, **common)


def _read_text(console: Console, prompt: str | None, asked: Asked, filled: FilledTemplate | None) -> str:
    """Return the prompt, put into the template if there is one."""
    source = asked.source
    required = filled is None or filled.needs_text
    text = read_prompt(console, prompt, source.file, raw=source.raw, required=required, access=asked.access)
    return text if filled is None else filled.prompt(text)


def read_row_template(console: Console, options: TemplateOptions, given: str | None) -> str | None:
    """Return the template of the prompts of rows. Raises UsageError if there are two."""
    filled = fill_template(console, options)
    if filled is None or filled.template.prompt is None:
        return given
    if given is not None:
        raise UsageError("--template cannot be used with -T", hint="the template has a prompt")
    return filled.row_template()


def read_base(console: Console, prompt: str | None, asked: Asked, constraint: AnswerConstraint | None) -> Question:
    """Return what all rows of an input have in common.

    Raises:
        UsageError: if there is a prompt, or an option that is for one prompt.
    """
    source, chat, tools, reasoning = asked.source, asked.chat, asked.tools, asked.reasoning
    for given, name in (
        (prompt, "PROMPT"), (source.file, "-f"), (source.messages, "--messages"), (source.infill, "--infill"),
        (source.at, "--at"), (source.dry_run, "--dry-run"), (asked.media.image, "--image"), (asked.media.audio, "--audio"),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{name} cannot be used with --input", hint="--template makes prompts from the fields of rows")
    _check_together(source, chat, tools)
    return Question(
        system=chat.system_prompt,
        template=chat.template(),
        raw=source.raw,
        reasoning=reasoning.reasoning,
        budget=reasoning.reasoning_budget,
        constraint=constraint,
        **(_read_tools(console, tools) if tools.tools is not None else {}),
    )


def _check_together(source: PromptOptions, chat: ChatOptions, tools: ToolOptions) -> None:
    gap = source.infill is not None or source.at is not None
    has_tools = tools.tools is not None or tools.run_tools
    if source.raw and (chat.system_prompt is not None or chat.chat_template is not None):
        raise UsageError("--raw uses no chat template: -sys and --chat-template cannot be used with it")
    if (source.raw or gap) and (source.messages is not None or has_tools):
        raise UsageError(
            f"{'--infill' if gap else '--raw'} uses no chat template: --messages and --tools cannot be used with it"
        )
    if source.infill is not None and (source.at is not None or source.file):
        raise UsageError("--infill cannot be used with --at or -f: its texts are arguments")
    if not has_tools and tools.tool_choice not in ("auto", "none"):
        raise UsageError("--tool-choice needs --tools")


def _read_gap(console: Console, prompt: str | None, source: PromptOptions) -> tuple[str, str]:
    if source.infill is not None:
        if prompt is None:
            raise UsageError("--infill needs two texts", hint="llamacli run --infill PREFIX SUFFIX")
        return source.infill, prompt
    if len(source.file) != 1 or prompt is not None or source.at is None:
        raise UsageError("--at needs one file and no prompt", hint="llamacli run -f FILE --at LINE:COL")
    name = source.file[0]
    text = console.read_input() if name == STDIN else read_text_file(Path(name))
    line, column = source.at
    lines = list(io.StringIO(text, newline=""))  # lines as editors count them
    here = lines[line - 1].rstrip("\r\n") if line <= len(lines) else ""
    if line > len(lines) + 1 or column > len(here) + 1:
        raise UsageError(f"{'standard input' if name == STDIN else name} has no position {line}:{column}")
    before = sum(map(len, lines[: line - 1])) + column - 1
    return text[:before], text[before:]


def _read_json(console: Console, path: Path) -> Any:
    return parse_json(console.read_input(), source="standard input") if str(path) == STDIN else read_json_file(path)


def _read_messages(console: Console, path: Path) -> tuple[Message, ...]:
    """Read the messages of a JSON list, or of an object with `messages`, as OpenAI's requests have."""
    document = _read_json(console, path)
    try:
        messages = read_messages(document.get("messages") if isinstance(document, dict) else document)
        check_calls(messages)
        return messages
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}") from error


def _read_tools(console: Console, options: ToolOptions) -> dict[str, Any]:
    from llamacli.engine.chat.tools.check import check_tools

    path = options.tools
    assert path is not None
    document = _read_json(console, path)
    try:
        tools = read_tools(document.get("tools") if isinstance(document, dict) else document)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}") from error
    if not tools:
        raise UsageError(f"{path} contains no tools")
    check_tools(tools)
    tools, choice = choose_tools(tools, options.tool_choice)
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": options.parallel_tool_calls}
