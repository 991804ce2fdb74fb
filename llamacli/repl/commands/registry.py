"""The registry of slash commands, from which `/help` is generated.

A line is a command if its first word is a slash and a name; a message may begin with a path or a comment.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llamacli.errors import UsageError
from llamacli.render.wrap import wrap

if TYPE_CHECKING:
    from llamacli.repl.conversation.state import Chat

_COMMAND = re.compile(r"/([a-z][a-z-]*)(?:[ \t]+(.*))?\s*", re.DOTALL)

Completes = Literal["", "files", "commands", "settings", "models", "sessions", "branches", "tools"]
"""The kind of completions of a command's argument."""

GROUPS = {
    "Answers": ("regen", "continue", "retry", "copy", "stats", "think", "probs", "pick"),
    "Messages": ("undo", "edit", "branches", "branch", "clear"),
    "Model": ("model", "system", "set", "params", "grammar", "schema", "tools"),
    "Prompt": ("file", "image", "audio", "index", "tokens", "context", "prompt", "compact"),
    "Sessions": ("save", "rename", "load", "sessions", "search", "delete", "export"),
    "Program": ("help", "quit"),
}
"""Every command by topic, in the order of help."""

Function = Callable[["Chat", str], None]


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A command: its `arguments` as help shows them, and a `summary` without a full stop."""

    name: str
    aliases: tuple[str, ...]
    arguments: str
    summary: str
    function: Function
    completes: Completes = ""
    choices: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """The command and its arguments."""
        return f"/{self.name} {self.arguments}".rstrip()

    @property
    def about(self) -> str:
        """The summary and the aliases."""
        return f"{self.summary} (also /{', /'.join(self.aliases)})" if self.aliases else self.summary


COMMANDS: dict[str, SlashCommand] = {}
"""Every name and alias."""

_WIDEST_USAGE = 21
_NARROWEST = 30
_INDENT = 4


def command(
    *names: str, arguments: str = "", summary: str, completes: Completes = "", choices: tuple[str, ...] = ()
) -> Callable[[Function], Function]:
    """Register a function as a command; the names after the first are aliases."""

    def register(function: Function) -> Function:
        made = SlashCommand(names[0], names[1:], arguments, summary, function, completes, choices)
        COMMANDS.update(dict.fromkeys(names, made))
        return function

    return register


def split_command(text: str) -> tuple[str, str] | None:
    """Return the name and the argument of a command; None for a message."""
    match = _COMMAND.fullmatch(text)
    return (match[1], (match[2] or "").strip()) if match else None


def find(name: str) -> SlashCommand:
    """Return the command of that name.

    Raises:
        UsageError: if it is unknown, with a suggestion.
    """
    if name in COMMANDS:
        return COMMANDS[name]
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean /{near[0]}?" if near else "/help lists the commands; put a space before a message that begins with /"
    raise UsageError(f"unknown command /{name}", hint=hint)


def parse_number(text: str, most: int) -> int | None:
    """Return the number, from 1 to `most`; None for any other text, however long."""
    if not text.isdecimal() or len(text) > len(str(most)):
        return None
    return number if 1 <= (number := int(text)) <= most else None


def paths_of(argument: str, name: str) -> list[str]:
    """Return the paths in the argument of a command, the home folder expanded. Raises UsageError if there are none."""
    try:
        words = shlex.split(argument)
    except ValueError as error:
        raise UsageError(f"invalid paths: {error}") from None
    if not words:
        raise UsageError(f"/{name} needs a path")
    if len(words) > 1 and Path(argument).expanduser().is_file():  # a name with spaces, as completion writes it
        words = [argument]
    return [str(Path(word).expanduser()) if word.startswith("~") else word for word in words]


def grouped(commands: Collection[SlashCommand]) -> dict[str, list[SlashCommand]]:
    """Return the commands by group, without empty groups."""
    groups = {title: [COMMANDS[name] for name in names if COMMANDS[name] in commands] for title, names in GROUPS.items()}
    return {title: found for title, found in groups.items() if found}


def format_help(commands: Collection[SlashCommand], width: int, paint: Callable[[str], str] = str) -> str:
    """Return the help of the commands, under the titles of their groups, which `paint` styles."""
    groups = grouped(commands)
    usages = [one.usage for found in groups.values() for one in found]
    column = max((len(usage) for usage in usages if len(usage) <= _WIDEST_USAGE), default=0) + 2
    if width < column + _NARROWEST:
        column = _INDENT
    lines = []
    for title, found in groups.items():
        lines.append(paint(title))
        for one in found:
            lines += _format_command(one, column, max(width - 1, _NARROWEST))
    return "\n".join(lines) + "\n"


def _format_command(one: SlashCommand, column: int, width: int) -> list[str]:
    """Return the lines of one command: its summary from a column on, beside the usage if it fits, else below."""
    indent = " " * column
    if len(one.usage) + 2 > column:
        return [*wrap(one.usage, width, rest=indent), *wrap(one.about, width, first=indent)]
    return wrap(one.about, width, first=f"{one.usage:<{column}}")
