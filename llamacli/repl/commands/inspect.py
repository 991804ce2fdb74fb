"""The commands that look at the conversation, and that take it elsewhere."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from html import escape as html_escape
from pathlib import Path

from llamacli.engine.chat.message import Message
from llamacli.errors import UsageError
from llamacli.render.stats import format_stats
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.context_window import build_turn, messages_of, room
from llamacli.repl.conversation.state import Chat

_CLIPBOARDS = (
    ("pbcopy",), ("wl-copy",), ("xclip", "-selection", "clipboard"), ("xsel", "--input", "--clipboard"), ("clip.exe",),
)  # fmt: skip
_CLIPBOARD_SECONDS = 5


@command("tokens", arguments="[TEXT]", summary="Count the tokens of a text, or of each message")
def tokens(chat: Chat, argument: str) -> None:
    """The template's own tokens are not counted; /context counts them."""
    engine = chat.engine()
    if argument:
        chat.setup.screen.show(f"{len(engine.text_turn(argument).prompt.tokens)} tokens")
        return
    for message in messages_of(chat):
        chat.setup.screen.show(f"{len(engine.text_turn(message.text).prompt.tokens):>7}  {message.role}")


@command("context", summary="Show how much of the context is used")
def context(chat: Chat, argument: str) -> None:
    """As the next message would find it."""
    engine = chat.engine()
    used, size = room(engine, build_turn(chat, engine)) if messages_of(chat) else (0, engine.n_ctx)
    chat.setup.screen.show(f"{used} of {size} tokens are used, {max(size - used, 0)} are left")


@command("prompt", summary="Show the conversation exactly as the model gets it")
def prompt(chat: Chat, argument: str) -> None:
    """The rendered template."""
    if not messages_of(chat):
        raise UsageError("nothing was said yet")
    chat.setup.screen.show(build_turn(chat, chat.engine()).prompt.text)


@command("stats", summary="Show what the last answer took, and what was cached")
def stats(chat: Chat, argument: str) -> None:
    """What `run --stats` tells."""
    if chat.measured is None:
        raise UsageError("nothing was answered yet")
    measured = chat.measured
    chat.setup.screen.show(format_stats(measured, load_ms=chat.engine().load_ms))


@command("copy", summary="Copy the last answer to the clipboard")
def copy(chat: Chat, argument: str) -> None:
    """With the system's own program; without one the terminal is asked to, if there is one."""
    answer = chat.tree.last("assistant")
    if answer is None:
        raise UsageError("nothing was answered yet")
    data = answer.message.text.encode("utf-8", "replace")
    for words in _CLIPBOARDS:
        program = shutil.which(words[0])
        if program is not None and _runs([program, *words[1:]], data):
            chat.setup.screen.say(f"copied with {words[0]}")
            return
    if not chat.setup.screen.live:
        raise UsageError("there is no clipboard: none of its programs works here, and standard output is no terminal")
    chat.setup.screen.write(f"\x1b]52;c;{base64.b64encode(data).decode()}\a")
    chat.setup.screen.say("the terminal was asked to copy it; not every terminal does")


@command(
    "export",
    arguments="FILE.md | FILE.json | FILE.html",
    summary="Write the conversation to a new file",
    completes="files",
)
def export(chat: Chat, argument: str) -> None:
    """The ending says in which form. A file that exists is left as it is."""
    path = Path(argument).expanduser()
    if path.suffix not in _FORMATS:
        raise UsageError("/export needs a file that ends with .md, .json or .html")
    try:
        with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_FORMATS[path.suffix](messages_of(chat)))
    except FileExistsError:
        raise UsageError(f"{path} exists already") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    chat.setup.screen.say(f"written to {path}")


def _runs(arguments: list[str], data: bytes) -> bool:
    try:
        done = subprocess.run(
            arguments, input=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_CLIPBOARD_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _whole_text(message: Message) -> str:
    """What a message says, and which tools it calls."""
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
