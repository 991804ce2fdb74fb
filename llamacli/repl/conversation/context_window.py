"""The prompt of a conversation, and the choice of messages when the context is nearly full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.errors import ContextFullError
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.tool_calls import tool_rendering
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend

LOW_SHARE = 8
"""Below 1/8 of the context free, the user is warned, or the oldest turns are left out."""

_FREED_SHARE = 4
"""After turns were left out, 1/4 of the context must be free, so that it is not full again at once."""

_UNLIMITED_TOKENS = 1 << 30
"""More tokens than any answer has: a context without a fixed size may grow to the model's training length."""


def rendering(chat: Chat, engine: Backend) -> Rendering:
    """Return the rendering options. An answer that is constrained by a grammar calls no tools."""
    tools = tool_rendering(chat, engine) if chat.settings.constraint is None else {}
    return Rendering(enable_thinking=chat.settings.thinking, **tools)


def system_messages(chat: Chat) -> tuple[Message, ...]:
    """Return the system prompt as a message, if there is one."""
    return (Message("system", chat.settings.system),) if chat.settings.system else ()


def chat_messages(chat: Chat, tip: int | None = None, first: int = 0) -> tuple[Message, ...]:
    """Return the system prompt, and the messages up to `tip` (None: the head) from number `first` on."""
    return (*system_messages(chat), *chat.tree.messages(tip)[first:])


def build_turn(chat: Chat, engine: Backend, tip: int | None = None, first: int = 0) -> Turn:
    """Return the prompt for the conversation up to `tip` (None: the head), from its message number `first` on.

    Raises:
        TemplateError: if the template rejects the messages.
    """
    chosen = chat.settings.constraint
    constraint = chosen.answer.grammar if chosen is not None else None
    messages = chat_messages(chat, tip, first)
    return engine.chat_turn(messages, rendering(chat, engine), template=chat.model.found.template, constraint=constraint)


def measure_room(engine: Backend, turn: Turn, answered: int = 0) -> tuple[int, int]:
    """Return the tokens of the prompt plus `answered` of the answer, and the size of the largest possible context."""
    used = len(turn.prompt.tokens)
    return used + answered, engine.context_for(used, _UNLIMITED_TOKENS)


def fitting_turn(chat: Chat, engine: Backend, tip: int | None = None, answered: int = 0) -> tuple[Turn, int]:
    """Return the prompt for the conversation, and the number of messages that were newly left out.

    With a context shift the oldest turns are left out until there is room. They stay out, so that the cache can be reused.

    Raises:
        TemplateError: if the template rejects the messages.
    """
    if not chat.settings.generation.context_shift:
        chat.window.first_seen = None
        return build_turn(chat, engine, tip), 0
    path = chat.tree.path(tip)
    starts = [number for number, node in enumerate(path) if node.message.role == "user"]
    before = first = next((number for number in starts if path[number].id == chat.window.first_seen), 0)
    turn, needed = build_turn(chat, engine, tip, first), LOW_SHARE
    for start in (number for number in starts if number > before):
        used, size = measure_room(engine, turn, answered)
        if size - used >= size // needed:
            break
        turn, first, needed = build_turn(chat, engine, tip, start), start, _FREED_SHARE
    chat.window.first_seen = path[first].id if first else None
    return turn, first - before


def check_room(chat: Chat, engine: Backend, turn: Turn, answered: int = 0) -> None:
    """Warn when the context is nearly full.

    Raises:
        ContextFullError: if it has no room for an answer.
    """
    used, size = measure_room(engine, turn, answered)
    chat.window.size = size
    if used >= size:
        raise ContextFullError(
            f"the conversation has {used} tokens, the context {size}",
            needed=used + 1,
            available=size,
            hint="/compact summarizes old turns, /set context_shift on drops them, /undo removes the last one, "
            "llamacli chat -c N has a larger context"
            + ("; /retry then sends the message again" if chat.turn.unanswered else ""),
        )
    if not chat.settings.generation.context_shift and size - used < size // LOW_SHARE:
        chat.setup.screen.warn(
            f"only {counted(size - used, 'token')} of the context left, then the answer is cut: "
            "/compact summarizes old turns, /set context_shift on drops them"
        )
