"""What a conversation begins and ends with, whoever types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llamacli.repl.conversation.autosave import begin
from llamacli.repl.conversation.kv_state import keep_state
from llamacli.repl.conversation.state import Chat


@contextmanager
def running(chat: Chat) -> Iterator[None]:
    """The session is open, the model and the MCP servers are starting; at the end the state is kept and the model freed.

    Raises: what `begin` raises.
    """
    begin(chat)
    chat.loader.start()
    if chat.setup.servers is not None:
        chat.setup.servers.start()
    try:
        yield
    finally:
        keep_state(chat)
        chat.loader.close()
