"""The prompt of a conversation, and what is done when it leaves too little of the context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.template import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.errors import ContextFullError
from llamacli.repl.conversation.tool_calls import rendering_of_tools

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine
    from llamacli.repl.conversation.state import Chat

LOW_SHARE = 8
"""When less than one part in so many of the context is left, the user is told, or the oldest turns are left out."""

_FREED_SHARE = 4
"""One part in so many of the context has to be free after turns were left out, so that it is not full again at once."""

_LONGEST_ANSWER = 1 << 30
"""More tokens than any answer has: where the context's size is not fixed, it may grow to what the model was trained with."""


def rendering(chat: Chat, engine: Engine) -> Rendering:
    """How the conversation is put to the model. An answer that is held to a grammar calls no tools."""
    tools = rendering_of_tools(chat, engine) if chat.held is None else {}
    return Rendering(enable_thinking=chat.thinks, **tools)


def messages_of(chat: Chat, tip: int | None = None, first: int = 0) -> tuple[Message, ...]:
    """The system prompt, and the messages up to `tip` (None: the head) from number `first` on."""
    system = (Message("system", chat.system),) if chat.system else ()
    return (*system, *chat.tree.messages(tip)[first:])


def build_turn(chat: Chat, engine: Engine, tip: int | None = None, first: int = 0) -> Turn:
    """The prompt for the conversation as it is now, or as it was at `tip`, from its message number `first` on.

    Raises:
        TemplateError: the template refuses the messages.
    """
    constraint = chat.held.constraint if chat.held is not None else None
    messages = messages_of(chat, tip, first)
    return engine.chat_turn(messages, rendering(chat, engine), template=chat.model.template, constraint=constraint)


def room(engine: Engine, turn: Turn, begun: int = 0) -> tuple[int, int]:
    """Tokens of the prompt with `begun` of the answer, and of the largest context that it could have."""
    return len(turn.prompt.tokens) + begun, engine.context_for(turn.prompt, _LONGEST_ANSWER)


def fitting_turn(chat: Chat, engine: Engine, tip: int | None = None, begun: int = 0) -> tuple[Turn, int]:
    """The prompt for the conversation. With a context shift it is without the oldest turns that leave no room.

    What was left out stays out, so that the cache can be used. Returns also how many messages were newly left out.

    Raises:
        TemplateError: the template refuses the messages.
    """
    if not chat.generation.context_shift:
        chat.first_seen = None
        return build_turn(chat, engine, tip), 0
    path = chat.tree.path(tip)
    starts = [number for number, node in enumerate(path) if node.message.role == "user"]
    before = first = next((number for number in starts if path[number].id == chat.first_seen), 0)
    turn, needed = build_turn(chat, engine, tip, first), LOW_SHARE
    for start in (number for number in starts if number > before):
        used, size = room(engine, turn, begun)
        if size - used >= size // needed:
            break
        turn, first, needed = build_turn(chat, engine, tip, start), start, _FREED_SHARE
    chat.first_seen = path[first].id if first else None
    return turn, first - before


def check_room(chat: Chat, engine: Engine, turn: Turn, begun: int = 0) -> None:
    """Says when the context is nearly full. Raises ContextFullError if it has no room for an answer."""
    used, size = room(engine, turn, begun)
    chat.largest_context = size
    if used >= size:
        raise ContextFullError(
            f"the conversation has {used} tokens, the context {size}",
            needed=used + 1,
            available=size,
            hint="/compact summarizes the older turns, /set context_shift on leaves them out, /undo takes back the last, "
            "-c makes the context larger" + ("; /retry then sends the message again" if chat.unanswered else ""),
        )
    if not chat.generation.context_shift and size - used < size // LOW_SHARE:
        chat.setup.screen.warn(
            f"{size - used} tokens of the context are left, and there the answer ends: "
            "/compact summarizes the older turns, /set context_shift on leaves them out"
        )
