"""The session of a conversation: opened at the start, or another one loaded later."""

from __future__ import annotations

from llamacli.engine.chat.message import read_messages
from llamacli.errors import UsageError
from llamacli.render.chat.tool_calls import FoldedOutput, format_call
from llamacli.repl.conversation.autosave import SessionJournal
from llamacli.repl.conversation.kv_state import expect_state, keep_state
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.tree import Node, Tree
from llamacli.repl.conversation.view import make_view
from llamacli.retrieval.quotation import question_of
from llamacli.store.sessions.store import Session, SessionStore
from llamacli.units import counted


def open_session(chat: Chat) -> None:
    """Prepare saving as the setup says: in the last session, in a named one, or in a new one; not at all without a store.

    Raises:
        UsageError: if the session does not exist, or another process has it open.
    """
    setup = chat.setup.sessions
    if setup.store is None:
        return
    session = setup.store.last() if setup.resume else None
    if setup.name is not None:
        session = setup.store.find(setup.name)
        if session is None and setup.name.isdecimal():
            raise UsageError(f"unknown session {setup.name}", hint="llamacli chat --list lists the sessions")
    if session is None:
        _save_in(chat, setup.store, name=setup.name)
        return
    resume_session(chat, setup.store, session)
    if chat.setup.system is not None:  # of the same command line; a session that /load opens has its own
        chat.settings.system = chat.setup.system
    show_last_turn(chat)


def resume_session(chat: Chat, store: SessionStore, session: Session) -> None:
    """Continue a saved conversation.

    Raises:
        UsageError: if it is open in another process.
    """
    current = chat.session.current
    if current is not None and current.id == session.id:
        return
    store.open(session.id)
    keep_state(chat)
    saved = store.messages(session.id)
    if current is not None:
        store.release(current.id)
    nodes = tuple(Node(one.id, one.parent, read_messages([one.document])[0], one.cut) for one in saved)
    chat.tree = Tree(nodes, session.head)
    chat.settings.system = session.system
    chat.forget_answers()
    _save_in(chat, store, session=session)
    expect_state(chat)


def show_last_turn(chat: Chat) -> None:
    """Show the end of a resumed conversation."""
    path, screen = chat.tree.path(), chat.setup.screen
    session = chat.session.current
    if session is not None:
        screen.note(f"session {session.label}: {counted(len(path), 'message')}, model {session.model}")
    for node in path[-2:]:
        if node.message.role == "user":
            screen.show(f"> {question_of(node.message.text)}")
            continue
        if node.message.role == "tool":
            result = FoldedOutput(screen.write, screen.size()[0], color=screen.color)
            result.add(node.message.text)
            result.finish("/tools last")
            chat.tools.last_result = node.message.text
            continue
        view = make_view(chat)
        view.add(node.message.text)
        view.finish()
        for call in node.message.tool_calls:
            screen.write(screen.label("tool ") + format_call(call.name, call.arguments, screen.size()[0] - 6) + "\n")
        screen.write("\n")


def _save_in(chat: Chat, store: SessionStore, *, session: Session | None = None, name: str | None = None) -> None:
    journal = SessionJournal(store, lambda: chat.header, chat.setup.screen.warn, session=session, name=name)
    chat.session.journal = chat.tree.journal = journal
