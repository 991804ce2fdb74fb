"""A conversation played from a file: each line is user input, and the output is what the user would see.

A line is a message or a command. Lines from one that begins with three double quotes to one that ends with them are one
message. Empty lines are skipped. When a tool needs permission, the next line answers if it is `y`, `a` or `n` (optionally with
a reason); otherwise the answer is no.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from llamacli.errors import UsageError
from llamacli.repl.conversation.blocks import is_open_block
from llamacli.repl.conversation.kv_state import restore_state
from llamacli.repl.conversation.model_loader import Loader
from llamacli.repl.conversation.state import Chat
from llamacli.repl.dispatch import execute, send, take_turn
from llamacli.repl.errors import report
from llamacli.repl.lifecycle import running
from llamacli.repl.setup import ChatSetup

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend

_PERMISSIONS = ("y", "yes", "a", "always", "n", "no")


def read_script(text: str, name: str) -> tuple[str, ...]:
    """Return the entries of a script, each a line or a block.

    Raises:
        UsageError: if a block does not end, or the script is empty.
    """
    entries: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if start:
            entries[-1] += f"\n{line}"
        elif line.strip():
            entries.append(line)
        else:
            continue
        start = (start or number) if is_open_block(entries[-1]) else 0
    if start:
        raise UsageError(f'{name}:{start}: unterminated """ block')
    if not entries:
        raise UsageError(f"{name} is empty")
    return tuple(entries)


def play(setup: ChatSetup, entries: Sequence[str]) -> None:
    """Play a conversation to its end, or to `/quit`. Errors are reported and the conversation continues, as for a user.

    Raises:
        LlamacliError: the first error, at the end; at once if the model cannot be loaded or the engine failed.
        KeyboardInterrupt: if the user stopped it.
    """
    Player(setup, entries).run()


class Player:
    """A conversation and its remaining input."""

    def __init__(self, setup: ChatSetup, entries: Sequence[str]) -> None:
        self._chat = Chat.begin(setup, Loader(setup.models.initial.load, lambda: None, self._on_engine), ask=self._ask)
        self._entries = deque(entries)
        self._error: Exception | None = None

    def run(self) -> None:
        """Play all entries. Raise like `play`."""
        chat = self._chat
        with running(chat):
            if chat.setup.prompt is not None:
                self._turn(chat.setup.prompt, partial(send, chat, chat.setup.prompt))
            while self._entries and not chat.leaving:
                text = self._entries.popleft()
                self._turn(text, partial(execute, chat, text))
        if self._error is not None:
            raise self._error

    def _turn(self, text: str, work: Callable[[], None]) -> None:
        chat = self._chat
        self._echo("> ", text)
        chat.turn.draft = ""  # a script has no prompt line that would begin with it
        try:
            take_turn(chat, work)
        except Exception as error:  # noqa: BLE001  # a bug must not end a conversation
            report(chat, error)
            self._error = self._error or error

    def _echo(self, mark: str, text: str) -> None:
        """Write an entry as the prompt line would show it."""
        screen = self._chat.setup.screen
        first, *more = text.split("\n")
        screen.write(screen.label(mark))
        screen.show(first)
        for line in more:
            screen.write(screen.label("… "))
            screen.show(line)

    def _ask(self, question: str) -> str:
        answer = "no"
        if self._entries and self._entries[0].strip().partition(" ")[0].lower() in _PERMISSIONS:
            word, _, reason = self._entries[0].strip().partition(" ")
            if not reason or word.lower() in ("n", "no"):
                answer = self._entries.popleft()
        self._echo(question, answer)
        return answer

    def _on_engine(self, engine: Backend) -> None:
        restore_state(self._chat, engine)
