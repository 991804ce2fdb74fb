"""The commands about saved sessions."""

from __future__ import annotations

import time

from llamacli.errors import UsageError
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.autosave import SessionJournal
from llamacli.repl.conversation.session import resume_session, show_last_turn
from llamacli.repl.conversation.state import Chat
from llamacli.store.sessions.store import Session, SessionStore

_AROUND, _PREVIEW = 30, 60


@command("rename", arguments="NAME", summary="Rename this session")
def rename(chat: Chat, argument: str) -> None:
    """Do the same as /save."""
    save(chat, argument)


@command("save", arguments="NAME", summary="Name this session; it is saved in any case")
def save(chat: Chat, argument: str) -> None:
    """Name the session for --session and /load."""
    _journal(chat).rename(argument)
    chat.setup.screen.note(f"this session is named {argument}")


@command("load", arguments="NAME|NUMBER", summary="Continue another session; this one stays saved", completes="sessions")
def load(chat: Chat, argument: str) -> None:
    """Resume a session."""
    store = _store(chat)
    resume_session(chat, store, _find(store, argument))
    show_last_turn(chat)


@command("sessions", summary="List the saved sessions")
def sessions(chat: Chat, argument: str) -> None:
    """List the sessions, the last used first."""
    chat.setup.screen.show(format_sessions(_store(chat).sessions()))


@command("search", arguments="TEXT", summary="Find messages that contain these words in all sessions")
def search(chat: Chat, argument: str) -> None:
    """List the messages that match, ignoring case, the newest first."""
    if not argument:
        raise UsageError("/search needs a text")
    found = _store(chat).search(argument)
    if not found:
        chat.setup.screen.note("no messages found")
    word = argument.split(maxsplit=1)[0].casefold()
    for one in found:
        text = " ".join(one.text.split())
        start = max(text.casefold().find(word) - _AROUND, 0)
        chat.setup.screen.show(f"{one.session.label}: {'…' if start else ''}{text[start : start + 2 * _AROUND + len(word)]}")


@command("delete", arguments="NAME|NUMBER", summary="Delete a saved session permanently", completes="sessions")
def delete(chat: Chat, argument: str) -> None:
    """Delete a session other than the current one."""
    store = _store(chat)
    session = _find(store, argument)
    own = _journal(chat).session
    if own is not None and own.id == session.id:
        raise UsageError("cannot delete the current session", hint="--no-save saves none")
    store.delete(session.id)
    chat.setup.screen.note(f"deleted session {session.label}")


def format_sessions(found: list[Session]) -> str:
    """Return a line for each session: its name or number, time of last use, number of messages and first words."""
    if not found:
        return "no saved sessions\n"
    width = max(len(session.label) for session in found)
    lines = []
    for session in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(session.updated))
        title = " ".join(session.title.split())[:_PREVIEW]
        lines.append(f"{session.label:<{width}}  {when}  {session.messages:>4}  {title}".rstrip())
    return "\n".join(lines) + "\n"


def _store(chat: Chat) -> SessionStore:
    store = chat.setup.sessions.store
    if store is None:
        raise UsageError("sessions are disabled by --no-save")
    return store


def _journal(chat: Chat) -> SessionJournal:
    _store(chat)
    assert chat.session.journal is not None
    return chat.session.journal


def _find(store: SessionStore, label: str) -> Session:
    session = store.find(label)
    if session is None:
        raise UsageError(f"unknown session {label}" if label else "missing session name", hint="/sessions lists the sessions")
    return session
