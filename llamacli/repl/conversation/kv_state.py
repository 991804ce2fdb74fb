"""The KV cache of a conversation, saved beside its session and restored with it.

It only saves time, so no failure here is an error: what cannot be restored is evaluated again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llamacli.errors import LlamacliError
from llamacli.repl.conversation.state import Chat

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend

logger = logging.getLogger(__name__)

_MIN_TOKENS = 128
"""Tokens below which evaluating again is faster than a file."""

_NOTICEABLE_BYTES = 200 << 20
"""Bytes that take so long to write that progress is shown."""


def expect_state(chat: Chat) -> None:
    """Schedule the state of the session to be restored before the next answer."""
    session, setup = chat.session.current, chat.setup.sessions
    chat.session.evaluated = False
    chat.session.state_file = None
    if setup.keep_state and setup.store is not None and session is not None:
        path = setup.store.states.path(session.id)
        chat.session.state_file = path if path.exists() else None


def restore_state(chat: Chat, engine: Backend) -> None:
    """Restore the scheduled state if possible. Safe on the loading thread."""
    path, chat.session.state_file = chat.session.state_file, None
    if path is None:
        return
    try:
        tokens = engine.load_state(path)
        logger.debug("%s: restored %d evaluated tokens", path.name, tokens)
    except (LlamacliError, OSError) as error:
        logger.debug("%s: not restored: %s", path.name, error)


def keep_state(chat: Chat) -> None:
    """Save the KV cache of this conversation, if it is long enough and the disk has room for it."""
    session, setup, engine = chat.session.current, chat.setup.sessions, chat.model.loader.engine
    if not setup.keep_state or setup.store is None or session is None or engine is None or not chat.session.evaluated:
        return
    chat.session.evaluated = False
    states = setup.store.states
    try:
        size = engine.state_bytes
        if engine.cached_tokens < _MIN_TOKENS or not states.admits(size):
            states.remove(session.id)  # an older one no longer matches
            logger.debug("session %d: state of %d bytes not saved", session.id, size)
            return
        with chat.setup.host.progress() as bar:
            if size > _NOTICEABLE_BYTES:
                bar.update("saving the KV cache", 0, None)
            engine.save_state(states.path(session.id))
        states.make_room(session.id)
    except (LlamacliError, OSError) as error:
        logger.debug("session %d: state not saved: %s", session.id, error)
    except KeyboardInterrupt:
        logger.debug("session %d: state not saved: interrupted", session.id)
