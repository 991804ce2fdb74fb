"""The start and the end of a conversation, on a terminal or from a script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llamacli.repl.conversation.kv_state import keep_state
from llamacli.repl.conversation.session import open_session
from llamacli.repl.conversation.state import Chat


@contextmanager
def running(chat: Chat) -> Iterator[None]:
    """Open the session and start the model and the MCP servers; at the end, save the state and free the model.

    Raises:
        UsageError: if the session cannot be opened.
    """
    open_session(chat)
    if not len(chat.tree):
        for message in chat.setup.opening:
            chat.tree.add(message)
    chat.model.loader.start()
    if chat.setup.tools.servers is not None:
        chat.setup.tools.servers.start()
    try:
        yield
    finally:
        keep_state(chat)
        chat.model.loader.close()
