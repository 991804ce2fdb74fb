"""The commands that inspect, copy and export the conversation."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from html import escape as html_escape
from pathlib import Path

from llamacli.engine.chat.message import Message
from llamacli.errors import UsageError
from llamacli.render.code import code_blocks
from llamacli.render.stats import format_stats
from llamacli.repl.commands.registry import command, parse_number
from llamacli.repl.conversation.context_window import build_turn, chat_messages, measure_room
from llamacli.repl.conversation.state import Chat
from llamacli.units import counted

_CLIPBOARDS = (
    ("pbcopy",), ("wl-copy",), ("xclip", "-selection", "clipboard"), ("xsel", "--input", "--clipboard"), ("clip.exe",),
)  # fmt: skip
_CLIPBOARD_SECONDS = 5


@command("tokens", arguments="[TEXT]", summary="Count the tokens of a text, or of each message")
def tokens(chat: Chat, argument: str) -> None:
    """Count without the tokens of the template, which /context includes."""
    engine = chat.engine()
    if argument:
        chat.setup.screen.show(counted(len(engine.text_turn(argument).prompt.tokens), "token"))
        return
    for message in chat_messages(chat):
        chat.setup.screen.show(f"{len(engine.text_turn(message.text).prompt.tokens):>7}  {message.role}")


@command("context", summary="Show the tokens of the context that are used")
def context(chat: Chat, argument: str) -> None:
    """Count the tokens of the whole prompt."""
    engine = chat.engine()
    if engine.has_vocabulary:
        used, size = measure_room(engine, build_turn(chat, engine)) if chat_messages(chat) else (0, engine.n_ctx)
    else:
        used, size = chat.measured.usage.total_tokens if chat.measured is not None else 0, engine.n_ctx
        if not size:
            chat.setup.screen.show(f"{counted(used, 'token')} used; the server does not tell the size of its context")
            return
    chat.setup.screen.show(f"{used} of {size} tokens used, {max(size - used, 0)} left")


@command("prompt", summary="Show the rendered prompt, exactly as the model sees it")
def prompt(chat: Chat, argument: str) -> None:
    """Show the rendered template."""
    if not chat_messages(chat):
        raise UsageError("the conversation is empty")
    if not chat.engine().has_vocabulary:
        raise UsageError("the prompt is rendered by the server")
    chat.setup.screen.show(build_turn(chat, chat.engine()).prompt.text)


@command("stats", summary="Show the speed and the cached tokens of the last answer")
def stats(chat: Chat, argument: str) -> None:
    """Show the line of `run --stats`."""
    if chat.measured is None:
        raise UsageError("no answer yet")
    screen = chat.setup.screen
    screen.show(format_stats(chat.measured, load_ms=chat.engine().load_ms, width=screen.width))


@command("copy", arguments="[N]", summary="Copy the last answer, or its code block N")
def copy(chat: Chat, argument: str) -> None:
    """Use a clipboard program of the system, else an escape sequence of the terminal."""
    answer = chat.tree.last("assistant")
    if answer is None:
        raise UsageError("no answer yet")
    text = _code(answer.message.text, argument) if argument else answer.message.text
    copied = f"code block {argument} " if argument else ""
    data = text.encode("utf-8", "replace")
    for words in _CLIPBOARDS:
        program = shutil.which(words[0])
        if program is not None and _run([program, *words[1:]], data):
            chat.setup.screen.note(f"{copied}copied with {words[0]}")
            return
    if not chat.setup.screen.live:
        raise UsageError("no clipboard: no clipboard program works here, and standard output is not a terminal")
    chat.setup.screen.write(f"\x1b]52;c;{base64.b64encode(data).decode()}\a")
    chat.setup.screen.note(f"{copied}sent to the terminal's clipboard (OSC 52); not every terminal supports it")


def _code(text: str, number: str) -> str:
    """Return a code block of an answer by its number, from 1. Raises UsageError if there is none."""
    blocks = code_blocks(text)
    index = parse_number(number, len(blocks))
    if index is None:
        raise UsageError(f"/copy needs a number from 1 to {len(blocks)}" if blocks else "the last answer has no code block")
    return blocks[index - 1]


@command(
    "export",
    arguments="FILE.md | FILE.json | FILE.html",
    summary="Write the conversation to a new file",
    completes="files",
)
def export(chat: Chat, argument: str) -> None:
    """Choose the format by the file name. An existing file is not overwritten."""
    path = Path(argument).expanduser()
    if path.suffix not in _FORMATS:
        raise UsageError("/export needs a file name that ends in .md, .json or .html")
    try:
        with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_FORMATS[path.suffix](chat_messages(chat)))
    except FileExistsError:
        raise UsageError(f"{path} already exists") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    chat.setup.screen.note(f"written to {path}")


def _run(arguments: list[str], data: bytes) -> bool:
    try:
        done = subprocess.run(
            arguments, input=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_CLIPBOARD_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _whole_text(message: Message) -> str:
    """Return the text of a message and its tool calls."""
    calls = (f"{call.name} {call.arguments}" for call in message.tool_calls)
    return "\n\n".join(filter(None, (message.text, *calls)))


def _markdown(messages: tuple[Message, ...]) -> str:
    return "\n".join(f"## {message.role.capitalize()}\n\n{_whole_text(message)}\n" for message in messages)


def _json(messages: tuple[Message, ...]) -> str:
    return json.dumps({"messages": [message.to_json() for message in messages]}, ensure_ascii=False, indent=2) + "\n"


def _html(messages: tuple[Message, ...]) -> str:
    parts = [f"<h2>{html_escape(message.role)}</h2>\n<pre>{html_escape(_whole_text(message))}</pre>\n" for message in messages]
    style = "<style>body { max-width: 50em; margin: auto } pre { white-space: pre-wrap }</style>"
    return f'<!doctype html>\n<meta charset="utf-8">\n<title>Conversation</title>\n{style}\n{"".join(parts)}'


_FORMATS = {".md": _markdown, ".json": _json, ".html": _html}
