"""Saving of a conversation as it grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from llamacli.errors import LlamacliError
from llamacli.repl.conversation.tree import Node
from llamacli.retrieval.quotation import question_of
from llamacli.store.sessions.store import SavedMessage, Session, SessionStore


@dataclass(frozen=True, slots=True)
class SessionHeader:
    """The description of a conversation that is saved beside its messages."""

    model: str
    system: str | None


class SessionJournal:
    """Saves every change of a conversation. The session is created with the first message, so that no empty ones remain.

    A full disk does not end the conversation: one warning, and nothing more is saved.
    """

    def __init__(
        self,
        store: SessionStore,
        header: Callable[[], SessionHeader],
        warn: Callable[[str], None],
        *,
        session: Session | None = None,
        name: str | None = None,
    ) -> None:
        self._store = store
        self._header = header
        self._warn = warn
        self._name = name
        self._broken = False
        self.session = session

    def added(self, node: Node) -> None:
        """Save a message, or its new text."""
        message = SavedMessage(node.id, node.parent, node.message.to_json(), node.cut)
        self._save(lambda session: self._store.put(session.id, message, text=question_of(node.message.text)))

    def moved(self, head: int | None) -> None:
        """Save the last message of the conversation, and its header."""
        header = self._header()
        self._save(lambda session: self._store.update(session.id, head=head, system=header.system, model=header.model))

    def rename(self, name: str) -> None:
        """Name the session, also before its first message.

        Raises:
            UsageError: if the name is taken or is a number.
        """
        if self.session is not None:
            self._store.rename(self.session.id, name)
            self.session = replace(self.session, name=name)
        else:
            self._store.check_name(name)
        self._name = name

    def _save(self, work: Callable[[Session], None]) -> None:
        if self._broken:
            return
        header = self._header()
        try:
            if self.session is None:
                self.session = self._store.create(model=header.model, system=header.system, name=self._name)
            work(self.session)
        except LlamacliError as error:
            self._broken = True
            self._warn(f"this conversation is no longer saved: {error.message}")
