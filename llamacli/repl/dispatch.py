"""The action for a line of input, typed or from a script: run a command, or answer a message."""

from __future__ import annotations

from collections.abc import Callable

from llamacli.errors import ContextFullError
from llamacli.repl.commands import (
    compact,
    constraints,
    index,
    inspect,
    media,
    messages,
    model,
    probabilities,
    sessions,
    settings,
    tools,
)
from llamacli.repl.commands.messages import send
from llamacli.repl.commands.registry import find, split_command
from llamacli.repl.conversation.passages import show_places
from llamacli.repl.conversation.reply import reply
from llamacli.repl.conversation.state import Chat

__all__ = ["COMMAND_MODULES", "execute", "send", "take_turn"]

COMMAND_MODULES = (
    messages, media, compact, probabilities, model, settings, constraints, tools, index, inspect, sessions,
)  # fmt: skip
"""The modules that register commands when they are imported."""


def take_turn(chat: Chat, work: Callable[[], None]) -> None:
    """Do what was typed, and let the model answer if that is wanted.

    Raises:
        LlamacliError: if it failed. The conversation can continue.
        KeyboardInterrupt: if the user stopped it.
    """
    before = chat.tree.head
    try:
        work()
        if chat.turn.wants_answer:
            _answer(chat, before)
    finally:
        chat.turn.wants_answer, chat.turn.beginning = False, None


def execute(chat: Chat, text: str) -> None:
    """Run a command, send a message, or attach the image or sound that was dropped on the terminal."""
    found = split_command(text)
    if found is None:
        if (name := media.dropped_file(chat, text)) is not None:
            media.attach_media(chat, [name], None)
        else:
            send(chat, text)
        return
    name, argument = found
    find(name).function(chat, argument)


def _answer(chat: Chat, before: int | None) -> None:
    """Generate an answer. Without one the conversation is as before, and the message is the draft or waits for /retry."""
    turn, unanswered = chat.turn, chat.tree.path()[-1:]
    try:
        reply(chat, chat.engine())
    except ContextFullError:
        turn.draft = ""  # the user types a command first, which would follow the draft; /retry sends the message
        raise
    finally:
        if chat.tree.path()[-1:] == unanswered:
            chat.tree.move(before)
        else:
            turn.draft = turn.unanswered = ""
            turn.attachments.clear()
            answer = chat.tree.last("assistant")
            if answer is not None and answer.cut:
                chat.setup.screen.note(f"[{answer.cut}]")
            show_places(chat)
            chat.setup.screen.write("\n")
