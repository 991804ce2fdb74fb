"""The conversation kept in the store as it goes, and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llamacli.engine.chat.message import read_messages
from llamacli.errors import LlamacliError, UsageError
from llamacli.render.chat.tool_calls import FoldedOutput, format_call
from llamacli.repl.conversation.kv_state import expect_state, keep_state
from llamacli.repl.conversation.tree import Node, Tree
from llamacli.store.sessions.store import SavedMessage, Session, SessionStore

if TYPE_CHECKING:
    from llamacli.repl.conversation.state import Chat


class Saver:
    """Saves every change of a conversation. Its session is made with the first message, so that no empty ones are left.

    A disk that is full does not end the conversation: it is said once, and nothing is saved any more.
    """

    def __init__(self, chat: Chat, store: SessionStore, session: Session | None = None, name: str | None = None) -> None:
        self._chat = chat
        self._store = store
        self._name = name
        self._broken = False
        self.session = session

    def added(self, node: Node) -> None:
        """Saves a message, or its new text."""
        document = node.message.to_json()
        message = SavedMessage(node.id, node.parent, document, node.cut)
        self._try(lambda session: self._store.put(session.id, message, text=node.message.text))

    def moved(self, head: int | None) -> None:
        """Saves where the conversation is."""
        chat = self._chat
        model = chat.model.name
        self._try(lambda session: self._store.update(session.id, head=head, system=chat.system, model=model))

    def rename(self, name: str) -> None:
        """Gives the session a name, also one that has no messages yet. Raises UsageError if it is taken or is a number."""
        if self.session is not None:
            self._store.rename(self.session.id, name)
        else:
            self._store.check_name(name)
        self._name = name

    def _try(self, work: Callable[[Session], None]) -> None:
        if self._broken:
            return
        chat = self._chat
        try:
            if self.session is None:
                self.session = self._store.create(model=chat.model.name, system=chat.system, name=self._name)
            work(self.session)
        except LlamacliError as error:
            self._broken = True
            chat.setup.screen.warn(f"this conversation is no longer saved: {error.message}")


def take_up(chat: Chat, store: SessionStore, session: Session) -> None:
    """Goes on with a saved conversation. Raises UsageError if it is open in another program."""
    if chat.saver is not None and chat.saver.session is not None and chat.saver.session.id == session.id:
        return
    store.open(session.id)
    keep_state(chat)
    saved = store.messages(session.id)
    if chat.saver is not None and chat.saver.session is not None:
        store.release(chat.saver.session.id)
    nodes = tuple(Node(one.id, one.parent, read_messages([one.document])[0], one.cut) for one in saved)
    chat.tree = Tree(nodes, session.head)
    chat.system = session.system
    chat.measured = chat.first_seen = chat.compacted = None
    chat.traces.clear()
    chat.saver = Saver(chat, store, session)
    chat.tree.journal = chat.saver
    expect_state(chat)


def begin(chat: Chat) -> None:
    """Prepares saving as the setup says: the last session, one of a name, or a new one; none without a store.

    Raises:
        UsageError: there is no session to continue, or another program has it open.
    """
    setup = chat.setup
    if setup.sessions is None:
        return
    session = setup.sessions.last() if setup.resumes else None
    if setup.session is not None:
        session = setup.sessions.find(setup.session)
        if session is None and setup.session.isdecimal():
            raise UsageError(f"there is no session {setup.session}", hint="llamacli chat --list lists them")
    if session is not None:
        take_up(chat, setup.sessions, session)
        if setup.system is not None:  # this one is named by the same command line; what /load brings later has its own
            chat.system = setup.system
        show_last(chat)
        return
    chat.saver = Saver(chat, setup.sessions, name=setup.session)
    chat.tree.journal = chat.saver


def show_last(chat: Chat) -> None:
    """Where the conversation was: its last exchange."""
    from llamacli.repl.conversation.stream import make_view

    path, screen = chat.tree.path(), chat.setup.screen
    session = chat.saver.session if chat.saver is not None else None
    if session is not None:
        screen.say(f"session {session.label}: {len(path)} messages, with {session.model}")
    for node in path[-2:]:
        if node.message.role == "user":
            screen.show(f"> {node.message.text}")
            continue
        if node.message.role == "tool":
            result = FoldedOutput(screen.write, screen.size()[0], color=screen.color)
            result.add(node.message.text)
            result.finish("/tools last")
            chat.last_result = node.message.text
            continue
        view = make_view(chat)
        view.add(node.message.text)
        view.finish()
        for call in node.message.tool_calls:
            screen.write(screen.marked("tool ") + format_call(call.name, call.arguments, screen.size()[0] - 6) + "\n")
        screen.write("\n")
