"""Completion of commands and of what stands behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from llamacli.render.text import escape_line
from llamacli.repl.commands import COMMANDS, SlashCommand
from llamacli.repl.sampling import setting_names


class ChatCompleter(Completer):
    """Completes the name of a command at the beginning of the text, and its argument."""

    def __init__(self) -> None:
        self._files = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What may stand at the cursor."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, argument = text[1:].partition(" ")
        if not space:
            for one in dict.fromkeys(COMMANDS.values()):
                if one.name.startswith(name):
                    yield Completion(one.name, -len(name), display=one.usage, display_meta=one.summary)
        elif name in COMMANDS:
            yield from self._arguments(COMMANDS[name], argument, complete_event)

    def _arguments(self, command: SlashCommand, argument: str, event: CompleteEvent) -> Iterable[Completion]:
        if command.completes == "files":
            for one in self._files.get_completions(Document(argument), event):
                yield Completion(one.text, one.start_position, display=escape_line(argument.rpartition("/")[2] + one.text))
            return
        words = [*command.choices, *_WORDS[command.completes]()]
        for word in words:
            if word.startswith(argument):
                yield Completion(word, -len(argument), display=escape_line(word))


_WORDS: dict[str, Callable[[], list[str]]] = {
    "": list,
    "commands": lambda: [one.name for one in dict.fromkeys(COMMANDS.values())],
    "settings": setting_names,
}
"""The words for each kind of argument."""
