"""Conversations of requests, in the form that chat templates expect."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from llamacli.engine.chat.message import Message

SYSTEM_ROLES = ("system", "developer")


def with_system(system: str | None, messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return a conversation with one system message at its start: `system`, and the system messages it begins with.

    Templates know neither two of them nor the role developer.
    """
    leading = list(itertools.takewhile(lambda message: message.role in SYSTEM_ROLES, messages))
    texts = [text for text in (system, *(message.text for message in leading)) if text]
    start = (Message("system", "\n\n".join(texts)),) if texts else ()
    return (*start, *messages[len(leading) :])
