"""What is done about a line that was typed, on a terminal or in a script: a command is obeyed, a message is answered."""

from __future__ import annotations

from collections.abc import Callable

from llamacli.errors import ContextFullError
from llamacli.repl.commands import compact as compacting
from llamacli.repl.commands import constraints as holding
from llamacli.repl.commands import inspect as looking
from llamacli.repl.commands import messages as talking
from llamacli.repl.commands import model as switching
from llamacli.repl.commands import probabilities as probing
from llamacli.repl.commands import sessions as keeping
from llamacli.repl.commands import settings as tuning
from llamacli.repl.commands import tools as tooling
from llamacli.repl.commands.messages import send
from llamacli.repl.commands.registry import find, split_command
from llamacli.repl.conversation.reply import reply
from llamacli.repl.conversation.state import Chat

__all__ = ["COMMAND_MODULES", "obey", "send", "take_turn"]

COMMAND_MODULES = (talking, compacting, probing, switching, tuning, holding, tooling, looking, keeping)
"""Imported for the commands that they register."""


def take_turn(chat: Chat, work: Callable[[], None]) -> None:
    """Does what was asked, and lets the model answer if that is wanted.

    Raises:
        LlamacliError, KeyboardInterrupt: it failed, or was stopped. The conversation can go on.
    """
    before = chat.tree.head
    try:
        work()
        if chat.wants_answer:
            _answer(chat, before)
    finally:
        chat.wants_answer, chat.beginning = False, None


def obey(chat: Chat, text: str) -> None:
    """Does what a command says, or says something."""
    found = split_command(text)
    if found is None:
        send(chat, text)
        return
    name, argument = found
    find(name).function(chat, argument)


def _answer(chat: Chat, before: int | None) -> None:
    """The model's answer. If there is none the conversation is as before, and the message is the draft or for /retry."""
    asked = chat.tree.path()[-1:]
    try:
        reply(chat, chat.engine())
    except ContextFullError:
        chat.draft = ""  # a command comes first, and would stand behind it; /retry sends it
        raise
    finally:
        if chat.tree.path()[-1:] == asked:
            chat.tree.move(before)
        else:
            chat.draft = chat.unanswered = ""
            chat.attachments.clear()
            answer = chat.tree.last("assistant")
            if answer is not None and answer.cut:
                chat.setup.screen.say(f"[{answer.cut}]")
            chat.setup.screen.write("\n")
