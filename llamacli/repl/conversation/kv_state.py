"""The evaluated conversation beside its session: kept when it is left, brought back when it is taken up again.

It only saves time, so nothing about it is an error: what cannot be brought back is evaluated again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llamacli.errors import LlamacliError

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine
    from llamacli.repl.conversation.state import Chat

logger = logging.getLogger(__name__)

_WORTHWHILE = 128
"""Tokens below which evaluating again takes no time worth a file."""

_NOTICEABLE = 200 << 20
"""Bytes that take so long to write that the user is told."""


def expect_state(chat: Chat) -> None:
    """Notes that the state of the session is to be brought back before the next answer."""
    session = chat.saver.session if chat.saver is not None else None
    store = chat.setup.sessions
    chat.evaluated = False
    chat.state = None
    if chat.setup.keeps_state and store is not None and session is not None and store.states.path(session.id).exists():
        chat.state = store.states.path(session.id)


def restore_state(chat: Chat, engine: Engine) -> None:
    """Brings back what was expected, if it can be. Safe on the thread that loads."""
    path, chat.state = chat.state, None
    if path is None:
        return
    try:
        tokens = engine.load_state(path)
        logger.debug("%s: %d tokens need not be evaluated again", path.name, tokens)
    except (LlamacliError, OSError) as error:
        logger.debug("%s is of no use: %s", path.name, error)


def keep_state(chat: Chat) -> None:
    """Writes what the engine has evaluated of this conversation, if there is enough of it and room for it."""
    session = chat.saver.session if chat.saver is not None else None
    store, engine = chat.setup.sessions, chat.loader.engine
    if not chat.setup.keeps_state or store is None or session is None or engine is None or not chat.evaluated:
        return
    chat.evaluated = False
    try:
        size = engine.state_bytes
        if engine.cached_tokens < _WORTHWHILE or not store.states.admits(size):
            store.states.remove(session.id)  # an older one would only be in the way
            logger.debug("the state of session %d is not kept: %d bytes", session.id, size)
            return
        with chat.setup.progress() as bar:
            if size > _NOTICEABLE:
                bar.update("keeping what was evaluated", 0, None)
            engine.save_state(store.states.path(session.id))
        store.states.make_room(session.id)
    except (LlamacliError, OSError) as error:
        logger.debug("the state of session %d is not kept: %s", session.id, error)
    except KeyboardInterrupt:
        logger.debug("the state of session %d is not kept: interrupted", session.id)
