"""The commands about saved sessions."""

from __future__ import annotations

import time

from llamacli.errors import UsageError
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.autosave import Saver, show_last, take_up
from llamacli.repl.conversation.state import Chat
from llamacli.store.sessions.store import Session, SessionStore

_AROUND, _PREVIEW = 30, 60


@command("rename", arguments="NAME", summary="Give this session another name")
def rename(chat: Chat, argument: str) -> None:
    """As /save."""
    save(chat, argument)


@command("save", arguments="NAME", summary="Name this session, to find it again; it is saved anyhow")
def save(chat: Chat, argument: str) -> None:
    """For --session and /load."""
    _saver(chat).rename(argument)
    chat.setup.screen.say(f"this session is called {argument}")


@command("load", arguments="NAME|NUMBER", summary="Go on with another session; this one stays saved", completes="sessions")
def load(chat: Chat, argument: str) -> None:
    """Takes up a session."""
    store = _store(chat)
    take_up(chat, store, _named(store, argument))
    show_last(chat)


@command("sessions", summary="List the saved sessions")
def sessions(chat: Chat, argument: str) -> None:
    """The one that was used last first."""
    chat.setup.screen.show(format_sessions(_store(chat).sessions()))


@command("search", arguments="TEXT", summary="Find the messages of all sessions that hold these words")
def search(chat: Chat, argument: str) -> None:
    """In any case, the latest first."""
    if not argument:
        raise UsageError("/search needs a text")
    found = _store(chat).search(argument)
    if not found:
        chat.setup.screen.say("nothing was found")
    word = argument.split(maxsplit=1)[0].casefold()
    for one in found:
        text = " ".join(one.text.split())
        begin = max(text.casefold().find(word) - _AROUND, 0)
        chat.setup.screen.show(f"{one.session.label}: {'…' if begin else ''}{text[begin : begin + 2 * _AROUND + len(word)]}")


@command("delete", arguments="NAME|NUMBER", summary="Delete a saved session for good", completes="sessions")
def delete(chat: Chat, argument: str) -> None:
    """Not the one that is going on."""
    store = _store(chat)
    session = _named(store, argument)
    own = _saver(chat).session
    if own is not None and own.id == session.id:
        raise UsageError("this is the session that is going on", hint="--no-save keeps none")
    store.delete(session.id)
    chat.setup.screen.say(f"session {session.label} is deleted")


def format_sessions(found: list[Session]) -> str:
    """A line for each: name or number, when it was used, how many messages, how it begins."""
    if not found:
        return "there are no saved sessions\n"
    width = max(len(session.label) for session in found)
    lines = []
    for session in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(session.updated))
        title = " ".join(session.title.split())[:_PREVIEW]
        lines.append(f"{session.label:<{width}}  {when}  {session.messages:>4}  {title}".rstrip())
    return "\n".join(lines) + "\n"


def _store(chat: Chat) -> SessionStore:
    if chat.setup.sessions is None:
        raise UsageError("with --no-save there are no sessions")
    return chat.setup.sessions


def _saver(chat: Chat) -> Saver:
    _store(chat)
    assert chat.saver is not None
    return chat.saver


def _named(store: SessionStore, label: str) -> Session:
    session = store.find(label)
    if session is None:
        raise UsageError(f"there is no session {label}" if label else "which session?", hint="/sessions lists them")
    return session
