"""Slash commands: how they are registered, found and called. `/help` is made from the registry.

A line is a command if its first word is a slash and a name: a path or a comment in code at the beginning of a message is text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.repl.chat import Chat

_COMMAND = re.compile(r"/([a-z][a-z-]*)(?:[ \t]+(.*))?\s*", re.DOTALL)

Completes = Literal["", "files", "commands", "settings", "models", "sessions", "branches", "tools"]
"""What a command's argument may be completed with."""

Function = Callable[["Chat", str], None]


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A command: `arguments` as help shows them, `summary` one sentence without a full stop."""

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
        """What it does, and what else it is called."""
        return f"{self.summary} (also /{', /'.join(self.aliases)})" if self.aliases else self.summary


COMMANDS: dict[str, SlashCommand] = {}
"""Every name and alias, in the order of `/help`."""


def command(
    *names: str, arguments: str = "", summary: str, completes: Completes = "", choices: tuple[str, ...] = ()
) -> Callable[[Function], Function]:
    """Registers a function as a command; the first name is its own, the others are aliases."""

    def register(function: Function) -> Function:
        made = SlashCommand(names[0], names[1:], arguments, summary, function, completes, choices)
        COMMANDS.update(dict.fromkeys(names, made))
        return function

    return register


def split_command(text: str) -> tuple[str, str] | None:
    """Name and argument of a command line; None for text that is meant for the model."""
    match = _COMMAND.fullmatch(text)
    return (match[1], (match[2] or "").strip()) if match else None


def find(name: str) -> SlashCommand:
    """The command of that name. Raises UsageError with what was probably meant."""
    if name in COMMANDS:
        return COMMANDS[name]
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean /{near[0]}?" if near else "/help lists them; to send text that begins with a slash, put a space first"
    raise UsageError(f"there is no command /{name}", hint=hint)


def numbered(text: str, most: int) -> int | None:
    """The number that is meant, from 1 to `most`; None for any other text, however long."""
    if not text.isdecimal() or len(text) > len(str(most)):
        return None
    return number if 1 <= (number := int(text)) <= most else None


def format_help(commands: Iterable[SlashCommand], width: int) -> str:
    """A line for each command; on a narrow terminal two."""
    unique = list(dict.fromkeys(commands))
    column = max(len(one.usage) for one in unique) + 2
    if width < column + 30:
        return "".join(f"{one.usage}\n    {one.about}\n" for one in unique)
    return "".join(f"{one.usage:<{column}}{one.about}\n" for one in unique)
