"""A conversation that is played from a file: each line is what a user would type, and what he would see is written.

A line is a message or a command. Lines from one that begins with three double quotes to one that ends with them are one
message. Empty lines are passed over. When a tool asks whether it may run, the next line answers, if it is `y`, `a` or `n` (with
a reason, if there is one); otherwise the answer is no.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from llamacli.errors import UsageError
from llamacli.repl.app.key_bindings import is_open_block
from llamacli.repl.conversation.kv_state import restore_state
from llamacli.repl.conversation.model_loader import Loader
from llamacli.repl.conversation.state import Chat
from llamacli.repl.dispatch import obey, send, take_turn
from llamacli.repl.errors import tell
from llamacli.repl.lifecycle import running
from llamacli.repl.setup import ChatSetup

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine

_ANSWERS = ("y", "yes", "a", "always", "n", "no")


def read_script(text: str, name: str) -> tuple[str, ...]:
    """What is typed, one entry after the other. Raises UsageError for a block that does not end, or if there is nothing."""
    entries: list[str] = []
    begun = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if begun:
            entries[-1] += f"\n{line}"
        elif line.strip():
            entries.append(line)
        else:
            continue
        begun = (begun or number) if is_open_block(entries[-1]) else 0
    if begun:
        raise UsageError(f'{name}:{begun}: the block of """ does not end')
    if not entries:
        raise UsageError(f"{name} is empty")
    return tuple(entries)


def play(setup: ChatSetup, entries: Sequence[str]) -> None:
    """Plays a conversation to its end, or to `/quit`. What fails is said, and it goes on, as a user would.

    Raises:
        LlamacliError: the first error, at the end; at once if the model cannot be loaded or the engine failed.
        KeyboardInterrupt: the user stopped it.
    """
    Player(setup, entries).run()


class Player:
    """A conversation and what is still to be typed."""

    def __init__(self, setup: ChatSetup, entries: Sequence[str]) -> None:
        self._chat = Chat(setup, Loader(setup.model.load, lambda: None, self._on_engine), ask=self._ask)
        self._entries = deque(entries)
        self._error: Exception | None = None

    def run(self) -> None:
        """Types all entries. Raises like `play`."""
        chat = self._chat
        with running(chat):
            if chat.setup.prompt is not None:
                self._turn(chat.setup.prompt, partial(send, chat, chat.setup.prompt))
            while self._entries and not chat.leaving:
                text = self._entries.popleft()
                self._turn(text, partial(obey, chat, text))
        if self._error is not None:
            raise self._error

    def _turn(self, text: str, work: Callable[[], None]) -> None:
        chat = self._chat
        self._show("> ", text)
        chat.draft = ""  # there is no prompt line that would begin with it
        try:
            take_turn(chat, work)
        except Exception as error:  # noqa: BLE001  # a mistake of ours must not end a conversation
            tell(chat, error)
            self._error = self._error or error

    def _show(self, mark: str, text: str) -> None:
        """A line as it would stand in the prompt line."""
        screen = self._chat.setup.screen
        first, *more = text.split("\n")
        screen.write(screen.marked(mark))
        screen.show(first)
        for line in more:
            screen.write(screen.marked("… "))
            screen.show(line)

    def _ask(self, question: str) -> str:
        answer = "no"
        if self._entries and self._entries[0].strip().partition(" ")[0].lower() in _ANSWERS:
            word, _, reason = self._entries[0].strip().partition(" ")
            if not reason or word.lower() in ("n", "no"):
                answer = self._entries.popleft()
        self._show(question, answer)
        return answer

    def _on_engine(self, engine: Engine) -> None:
        restore_state(self._chat, engine)
