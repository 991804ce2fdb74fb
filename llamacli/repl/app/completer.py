"""Completion of commands and of what stands behind them."""

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
from llamacli.repl.commands.setting_values import settings_beginning
from llamacli.store.sessions.store import SessionStore

if TYPE_CHECKING:
    from llamacli.repl.conversation.state import Chat

logger = logging.getLogger(__name__)


class ChatCompleter(Completer):
    """Completes the name of a command at the beginning of the text, and its argument."""

    def __init__(self, chat: Callable[[], Chat]) -> None:
        self._chat = chat
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What may stand at the cursor."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, argument = text[1:].partition(" ")
        if not space:
            for own, one in COMMANDS.items():
                if own.startswith(name):
                    display = one.usage if own == one.name else f"/{own}"
                    yield Completion(own, -len(name), display=display, display_meta=one.summary)
        elif name in COMMANDS:
            yield from self._arguments(COMMANDS[name], argument, complete_event)

    def _arguments(self, command: SlashCommand, argument: str, event: CompleteEvent) -> Iterable[Completion]:
        if command.completes == "files":
            for one in self._files.get_completions(Document(argument), event):
                yield Completion(one.text, one.start_position, display=escape_line(argument.rpartition("/")[2] + one.text))
        for word in dict.fromkeys((*command.choices, *self._words(command, argument))):
            if word.startswith(argument) and word.isprintable():
                yield Completion(word, -len(argument), display=escape_line(word))

    def _words(self, command: SlashCommand, argument: str) -> list[str]:
        """What an argument of this kind may be. On a thread of its own, so that the store is opened anew."""
        chat = self._chat()
        try:
            match command.completes:
                case "commands":
                    return list(COMMANDS)
                case "settings":
                    return settings_beginning(argument)
                case "models":
                    return chat.setup.model_names()
                case "branches":
                    return [str(number) for number in range(1, len(chat.tree.tips()) + 1)]
                case "tools" if chat.setup.toolbox is not None:
                    begun = argument[: argument.rfind(" ") + 1]
                    names = [offer.tool.name for offer in chat.setup.toolbox.offers] if begun.strip() else []
                    return [begun + name for name in names if name not in begun.split()]
                case "sessions" if chat.setup.sessions is not None:
                    with closing(SessionStore(chat.setup.sessions.path)) as store:
                        return [session.label for session in store.sessions()]
        except (LlamacliError, OSError):
            logger.debug("nothing to complete with", exc_info=True)
        return []
