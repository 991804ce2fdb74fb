"""`/compact`: the model summarizes the older turns, and the conversation goes on behind the summary, on a branch of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.template import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.errors import ContextFullError, UsageError
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.context_window import build_turn, room
from llamacli.repl.conversation.reply import generation
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.stream import Answering, Plan
from llamacli.repl.conversation.tree import Node, Tree

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine

INSTRUCTION = (
    "Summarize our conversation so far, so that you can go on from the summary alone. Keep facts, names, numbers, decisions "
    "and open questions. Answer with nothing but the summary."
)

_SUMMARY_SHARE = 4
"""The summary may take one part in so many of the context."""

_SHORTEST_SUMMARY = 16
"""Tokens that must be free for a summary."""


@command("compact", summary="Let the model summarize old turns; /undo takes it back")
def compact(chat: Chat, argument: str) -> None:
    """All but the last question and its answer, or that alone if there is no more."""
    path = chat.tree.path()
    starts = [number for number, node in enumerate(path) if node.message.role == "user"]
    if not starts:
        raise UsageError("nothing was said yet")
    engine = chat.engine()
    before = len(build_turn(chat, engine).prompt.tokens)
    end, turn, limit = _what_fits(chat, engine, path, [*starts[1:], *([len(path)] if len(starts) == 1 else [])])
    summary = _summarize(chat, engine, turn, limit)
    old = path[-1].id
    chat.tree.move(None)
    chat.tree.add(Message("user", INSTRUCTION))
    chat.tree.add(summary)
    for node in path[end:]:
        _copy(chat, node)
    head = chat.tree.head
    assert head is not None
    chat.compacted = (head, old)
    chat.first_seen = chat.measured = None
    after = len(build_turn(chat, engine).prompt.tokens)
    chat.setup.screen.say(
        f"{end} messages became this summary: the conversation has {after} tokens instead of {before}; /undo takes it back"
    )


def take_back(chat: Chat) -> bool:
    """Takes the last /compact back if nothing was said since."""
    if chat.compacted is None or chat.compacted[0] != chat.tree.head:
        return False
    chat.tree.move(chat.compacted[1])
    chat.compacted = None
    return True


def _what_fits(chat: Chat, engine: Engine, path: Sequence[Node], ends: list[int]) -> tuple[int, Turn, int]:
    """How many of the oldest messages can be summarized at once, the prompt for it, and the most tokens of the summary."""
    system = (Message("system", chat.system),) if chat.system else ()
    for end in reversed(ends):
        messages = (*system, *(node.message for node in path[:end]), Message("user", INSTRUCTION))
        turn = engine.chat_turn(messages, Rendering(enable_thinking=False), template=chat.model.template)
        used, size = room(engine, turn)
        if size - used >= _SHORTEST_SUMMARY and (size - used >= size // _SUMMARY_SHARE or end == ends[0]):
            return end, turn, min(size - used, size // _SUMMARY_SHARE)
    raise ContextFullError(
        f"no turn is short enough to be summarized in a context of {size} tokens",
        needed=used + _SHORTEST_SUMMARY,
        available=size,
        hint="/undo takes back the last turn, /clear begins anew, -c makes the context larger",
    )


def _summarize(chat: Chat, engine: Engine, turn: Turn, limit: int) -> Message:
    """The summary, shown as it comes. Raises KeyboardInterrupt if it was stopped: half a summary is none."""
    scratch = Tree()
    params = dataclasses.replace(generation(chat, engine), max_tokens=max(limit, _SHORTEST_SUMMARY))
    plan = Plan(turn=turn, tree=scratch, generation=params, make_room=lambda count: None)
    node = Answering(chat, engine, plan).run()
    if node is None or not node.message.text.strip():
        raise UsageError("the model wrote no summary: everything stays as it was")
    if node.cut:
        chat.setup.screen.say(f"[{node.cut}]")
    return Message("assistant", node.message.text)


def _copy(chat: Chat, node: Node) -> None:
    """Says the same behind the head, with what is known of its tokens."""
    trace = chat.traces.get(node.id)
    copy = chat.tree.add(node.message)
    if node.cut:
        chat.tree.grow(copy, node.message, node.cut)
    if trace is not None:
        chat.traces.put(copy.id, trace)
