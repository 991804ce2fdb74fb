"""`/compact`: the model summarizes the oldest turns, and the conversation continues after the summary, on a separate branch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.errors import ContextFullError, UsageError
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.context_window import build_turn, measure_room, system_messages
from llamacli.repl.conversation.draft import AnswerPlan
from llamacli.repl.conversation.reply import generation_params
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.stream import AnswerStream
from llamacli.repl.conversation.tree import Node, Tree

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend

INSTRUCTION = (
    "Summarize our conversation so far, so that you can continue from the summary alone. Keep facts, names, numbers, decisions "
    "and open questions. Answer with nothing but the summary."
)

_SUMMARY_SHARE = 4
"""The summary may take 1/4 of the context."""

_MIN_SUMMARY = 16
"""Tokens that must be free for a summary."""


@command("compact", summary="Let the model summarize old turns; /undo reverts it")
def compact(chat: Chat, argument: str) -> None:
    """Summarize all turns but the last one; the last one if it is the only one."""
    path = chat.tree.path()
    starts = [number for number, node in enumerate(path) if node.message.role == "user"]
    if not starts:
        raise UsageError("the conversation is empty")
    engine = chat.engine()
    before = len(build_turn(chat, engine).prompt.tokens)
    end, turn, limit = _fitting_part(chat, engine, path, [*starts[1:], *([len(path)] if len(starts) == 1 else [])])
    summary = _summarize(chat, engine, turn, limit)
    _replace(chat, path, end, summary)
    after = len(build_turn(chat, engine).prompt.tokens)
    chat.setup.screen.note(
        f"replaced {end} messages with this summary: the conversation has {after} tokens, before {before}; /undo reverts it"
    )


def revert_compact(chat: Chat) -> bool:
    """Revert the last /compact if no message came after it. Return whether it did."""
    if chat.window.compacted is None or chat.window.compacted[0] != chat.tree.head:
        return False
    chat.tree.move(chat.window.compacted[1])
    chat.window.compacted = None
    return True


def _replace(chat: Chat, path: Sequence[Node], end: int, summary: Message) -> None:
    """Continue on a branch that has the summary in place of the first `end` messages."""
    chat.tree.move(None)
    chat.tree.add(Message("user", INSTRUCTION))
    chat.tree.add(summary)
    for node in path[end:]:
        _copy(chat, node)
    assert chat.tree.head is not None
    chat.window.compacted = (chat.tree.head, path[-1].id)
    chat.window.first_seen = chat.measured = None


def _fitting_part(chat: Chat, engine: Backend, path: Sequence[Node], ends: list[int]) -> tuple[int, Turn, int]:
    """Return how many of the oldest messages fit in one summary, the prompt for it, and its maximum length in tokens."""
    for end in reversed(ends):
        messages = (*system_messages(chat), *(node.message for node in path[:end]), Message("user", INSTRUCTION))
        turn = engine.chat_turn(messages, Rendering(enable_thinking=False), template=chat.model.found.template)
        used, size = measure_room(engine, turn)
        if size - used >= _MIN_SUMMARY and (size - used >= size // _SUMMARY_SHARE or end == ends[0]):
            return end, turn, min(size - used, size // _SUMMARY_SHARE)
    raise ContextFullError(
        f"no turn is short enough to be summarized in a context of {size} tokens",
        needed=used + _MIN_SUMMARY,
        available=size,
        hint="/undo removes the last turn, /clear starts a new conversation, llamacli chat -c N has a larger context",
    )


def _summarize(chat: Chat, engine: Backend, turn: Turn, limit: int) -> Message:
    """Return the summary, which is shown while it grows.

    Raises:
        KeyboardInterrupt: if the user stopped it; half a summary is discarded.
    """
    scratch = Tree()
    params = dataclasses.replace(generation_params(chat), max_tokens=max(limit, _MIN_SUMMARY))
    plan = AnswerPlan(turn=turn, tree=scratch, generation=params, make_room=lambda count: None)
    node = AnswerStream(chat, engine, plan).run()
    if node is None or not node.message.text.strip():
        raise UsageError("the model wrote no summary: the conversation is unchanged")
    if node.cut:
        chat.setup.screen.note(f"[{node.cut}]")
    return Message("assistant", node.message.text)


def _copy(chat: Chat, node: Node) -> None:
    """Add a copy of a message after the head, with its trace."""
    trace = chat.traces.get(node.id)
    copy = chat.tree.add(node.message)
    if node.cut:
        chat.tree.grow(copy, node.message, node.cut)
    if trace is not None:
        chat.traces.put(copy.id, trace)
