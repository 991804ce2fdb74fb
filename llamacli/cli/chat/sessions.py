"""The options of `llamacli chat` about saved sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.parameters import option
from llamacli.errors import UsageError
from llamacli.repl.setup import SessionSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Saved conversations."""

    PANEL: ClassVar[str] = "Sessions"

    resume: Annotated[bool, option("-C", "--continue", help="Continue the last session.", environment=False)] = False
    session: Annotated[str | None, option("--session", metavar="NAME", help="Session to continue or to create.")] = None
    list: Annotated[bool, option("--list", help="List the saved sessions.", environment=False)] = False
    save: Annotated[bool, option("--save/--no-save", help="Save messages as the conversation grows.")] = True
    state: Annotated[
        bool,
        option("--state/--no-state", help="Save the KV cache beside the session, so that continuing it starts at once."),
    ] = True

    def check(self) -> None:
        """Raise UsageError for options that cannot be combined."""
        if self.resume and self.session is not None:
            raise UsageError("--continue cannot be used with --session", hint="--continue is the last session")
        if self.session is not None and not self.session.strip():
            raise UsageError("--session: the name is empty")
        if not self.save and (self.resume or self.session is not None):
            raise UsageError("--no-save cannot be used with --continue and --session")


@contextmanager
def open_sessions(options: SessionOptions) -> Iterator[SessionSetup]:
    """Open the store of sessions, unless nothing is to be saved."""
    from llamacli.store.sessions.store import SessionStore

    if not options.save:
        yield SessionSetup()
        return
    with closing(SessionStore()) as store:
        yield SessionSetup(store=store, name=options.session, resume=options.resume, keep_state=options.state)


def list_sessions(console: Console, *, alone: bool) -> None:
    """Write a line for each saved session.

    Raises:
        UsageError: unless `alone`, without arguments of a conversation.
    """
    if not alone:
        raise UsageError("--list cannot be used with PROMPT, --session and --continue")
    from llamacli.repl.commands.sessions import format_sessions
    from llamacli.store.sessions.store import SessionStore

    with closing(SessionStore()) as store:
        found = store.sessions()
    if found:
        console.show(format_sessions(found, console.width - 1 if console.terminals.stdout else None))
    else:
        console.note("no saved sessions")
