"""Completion of commands and their arguments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from llamacli.errors import LlamacliError
from llamacli.render.text import escape_line
from llamacli.repl.commands.registry import COMMANDS, SlashCommand
from llamacli.repl.commands.setting_values import complete_setting
from llamacli.store.sessions.store import SessionStore

if TYPE_CHECKING:
    from llamacli.repl.conversation.state import Chat

_MENU_MARGINS = 8
"""Columns of the menu beside its texts: the mark of the prompt line, the padding of both columns, the scroll bar."""

logger = logging.getLogger(__name__)


class ChatCompleter(Completer):
    """Completes the name of a command at the beginning of the text, and its argument."""

    def __init__(self, chat: Callable[[], Chat]) -> None:
        self._chat = chat
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield the completions at the cursor."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, argument = text[1:].partition(" ")
        if not space:
            yield from self._commands(name)
        elif name in COMMANDS:
            yield from self._arguments(COMMANDS[name], argument, complete_event)

    def _commands(self, name: str) -> Iterable[Completion]:
        """Yield the commands that begin with a name. Arguments are shown where every summary still fits beside them."""
        found = {word: one for word, one in COMMANDS.items() if word.startswith(name)}
        summaries = max((len(one.summary) for one in found.values()), default=0)
        room = self._chat().setup.screen.size()[0] - summaries - _MENU_MARGINS
        for word, one in found.items():
            display = one.usage if word == one.name and len(one.usage) <= room else f"/{word}"
            yield Completion(word, -len(name), display=display, display_meta=one.summary)

    def _arguments(self, command: SlashCommand, argument: str, event: CompleteEvent) -> Iterable[Completion]:
        if command.completes == "files":
            for one in self._files.get_completions(Document(argument), event):
                yield Completion(one.text, one.start_position, display=escape_line(argument.rpartition("/")[2] + one.text))
        for word in dict.fromkeys((*command.choices, *self._words(command, argument))):
            if word.startswith(argument) and word.isprintable():
                yield Completion(word, -len(argument), display=escape_line(word))

    def _words(self, command: SlashCommand, argument: str) -> list[str]:
        """Return the possible arguments. Called on a thread, which needs its own connection to the store."""
        chat = self._chat()
        try:
            match command.completes:
                case "commands":
                    return list(COMMANDS)
                case "settings":
                    return complete_setting(argument)
                case "models":
                    return chat.setup.models.names()
                case "branches":
                    return [str(number) for number in range(1, len(chat.tree.tips()) + 1)]
                case "tools" if chat.setup.tools.toolbox is not None:
                    typed = argument[: argument.rfind(" ") + 1]
                    names = [offer.tool.name for offer in chat.setup.tools.toolbox.offers] if typed.strip() else []
                    return [typed + name for name in names if name not in typed.split()]
                case "sessions" if chat.setup.sessions.store is not None:
                    with closing(SessionStore(chat.setup.sessions.store.path)) as store:
                        return [session.label for session in store.sessions()]
        except (LlamacliError, OSError):
            logger.debug("no completions", exc_info=True)
        return []
