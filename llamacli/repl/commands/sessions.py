"""The commands about saved sessions."""

from __future__ import annotations

import time

from llamacli.errors import UsageError
from llamacli.render.text import columns, escape_line
from llamacli.render.wrap import cut, wrap
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.autosave import SessionJournal
from llamacli.repl.conversation.session import resume_session, show_last_turn
from llamacli.repl.conversation.state import Chat
from llamacli.store.sessions.store import Session, SessionStore
from llamacli.units import counted

_AROUND, _PREVIEW = 30, 60
_LABEL_SHARE = 3
"""Names of sessions are aligned up to 1/3 of the width."""


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
    screen = chat.setup.screen
    screen.show(format_sessions(_store(chat).sessions(), screen.width))


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
        end = start + 2 * _AROUND + len(word)
        chat.setup.screen.show_row(f"{one.session.label}: ", f"{'…' if start else ''}{text[start:end]}")


@command("delete", arguments="NAME|NUMBER", summary="Delete a saved session permanently; asks first", completes="sessions")
def delete(chat: Chat, argument: str) -> None:
    """Delete a session other than the current one."""
    store = _store(chat)
    session = _find(store, argument)
    own = _journal(chat).session
    if own is not None and own.id == session.id:
        raise UsageError("cannot delete the current session", hint="/load another one first")
    store.open(session.id)  # refused now rather than after the question
    is_agreed = False
    try:
        question = f"delete session {escape_line(session.label)}, {counted(session.messages, 'message')}? [y/N] "
        is_agreed = chat.ask(question).strip().lower() in ("y", "yes")
    except EOFError:
        pass
    finally:
        if not is_agreed:
            store.release(session.id)
    if not is_agreed:
        chat.setup.screen.note("nothing deleted")
        return
    store.delete(session.id)
    chat.setup.screen.note(f"deleted session {session.label}")


def format_sessions(found: list[Session], width: int | None) -> str:
    """Return a line for each session: its name or number, time of last use, number of messages and first words.

    `width` is in columns; None does not wrap the lines.
    """
    if not found:
        return "no saved sessions\n"
    names = [escape_line(session.label) for session in found]
    column = max(map(columns, names))
    if width is not None:
        column = min(column, width // _LABEL_SHARE)
    lines = []
    for name, session in zip(names, found, strict=True):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(session.updated))
        title = cut(escape_line(" ".join(session.title.split())), _PREVIEW)
        facts = name + " " * (column - columns(name)) + f"  {when}  {session.messages:>4}  "
        lines += [line.rstrip() for line in wrap(title, width, first=facts, breaks_words=True)]
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
