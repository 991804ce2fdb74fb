"""`/index`: the index whose passages come with messages."""

from __future__ import annotations

from llamacli.errors import UsageError
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.state import Chat
from llamacli.retrieval.quotation import passages_of
from llamacli.units import counted


@command(
    "index",
    arguments="[on|off|show]",
    summary="Answer from the index, or not; show the passages",
    choices=("on", "off", "show"),
)
def switch_index(chat: Chat, argument: str) -> None:
    """Switch the passages of the index on or off, or show those of the last message."""
    if argument == "show":
        question = chat.tree.last("user")
        chat.setup.screen.show(passages_of(question.message.text if question is not None else "") or "no passages yet")
        return
    index = chat.setup.index
    if index is None:
        raise UsageError("this conversation has no index", hint="llamacli chat --index DB uses one")
    if argument not in ("", "on", "off"):
        raise UsageError("/index needs on, off or show")
    if argument:
        chat.settings.uses_index = argument == "on"
    state = f"up to {counted(index.budget, 'token')} for each message" if chat.settings.uses_index else "off"
    chat.setup.screen.note(f"{index.name}: {counted(index.count(), 'text')}, {state}")
