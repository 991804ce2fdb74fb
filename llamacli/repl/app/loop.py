"""The loop of prompt lines and turns."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application.current import get_app_session
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from llamacli.render.theme import Theme, plain
from llamacli.repl.app.completer import ChatCompleter
from llamacli.repl.app.confirm import ask
from llamacli.repl.app.hidden_characters import ShowHidden
from llamacli.repl.app.key_bindings import make_bindings
from llamacli.repl.app.terminal_mode import TerminalMode
from llamacli.repl.app.toolbar import format_toolbar
from llamacli.repl.app.wakeup import wakeup_kept
from llamacli.repl.conversation.kv_state import restore_state
from llamacli.repl.conversation.model_loader import Loader
from llamacli.repl.conversation.state import Chat
from llamacli.repl.dispatch import execute, send, take_turn
from llamacli.repl.errors import report
from llamacli.repl.lifecycle import running
from llamacli.repl.screen import Screen
from llamacli.repl.setup import ChatSetup

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend

_MODES = {"emacs": EditingMode.EMACS, "vi": EditingMode.VI}


def converse(setup: ChatSetup) -> None:
    """Run a conversation until the user leaves.

    Raises:
        LlamacliError: if the model cannot be loaded, or the engine failed.
    """
    Loop(setup).run()


class Loop:
    """A conversation and its prompt line."""

    def __init__(self, setup: ChatSetup) -> None:
        self._session: PromptSession[str] = PromptSession(
            message=FormattedText([("class:prompt", "> ")]),
            prompt_continuation=lambda width, line, wraps: continuation(width, line, wraps, setup.screen),
            multiline=True,
            history=open_history(setup),
            completer=ChatCompleter(lambda: self._chat),
            complete_while_typing=False,
            complete_in_thread=True,
            key_bindings=make_bindings(self._hint),
            input_processors=[ShowHidden()],
            bottom_toolbar=self._toolbar,
            editing_mode=_MODES[setup.prompt_line.editing],
            style=make_style(setup.screen.theme),
            color_depth=None if setup.screen.color else ColorDepth.DEPTH_1_BIT,
        )
        self._session.app.key_processor.before_key_press += lambda _: self._hint("")
        self._terminal = TerminalMode(get_app_session().input, self._session.app)
        self._hint_text = ""
        setup = replace(setup, screen=replace(setup.screen, resumes=lambda: self._terminal.resumes))
        self._chat = Chat.begin(setup, Loader(setup.models.initial.load, self._on_load, self._on_engine), ask=self._ask)

    def run(self) -> None:
        """Read and execute until the end. Keys typed between two prompt lines wait for the next one."""
        screen = self._chat.setup.screen
        screen.note(greeting(self._chat))
        with running(self._chat), self._terminal.no_echo():
            self._converse()
        if words := farewell(self._chat):
            screen.note(words)

    def _converse(self) -> None:
        chat = self._chat
        if chat.setup.prompt is not None:
            self._turn(partial(send, chat, chat.setup.prompt))
        while not chat.leaving:
            try:
                text = self._read()
            except EOFError:
                return
            if text.strip():
                self._turn(partial(execute, chat, text))

    def _read(self) -> str:
        """Return the typed text; empty after a SIGINT from another process."""
        turn, self._hint_text = self._chat.turn, ""
        draft, turn.draft = turn.draft, ""
        try:
            with wakeup_kept():
                return self._session.prompt(default=draft, handle_sigint=False, pre_run=self._refresh)
        except KeyboardInterrupt:
            return ""

    def _turn(self, work: Callable[[], None]) -> None:
        """Take a turn. Report an error, after which the user can continue."""
        chat = self._chat
        try:
            take_turn(chat, work)
        except KeyboardInterrupt:
            pass
        except Exception as error:  # noqa: BLE001  # a bug must not end a conversation
            report(chat, error)

    def _ask(self, question: str) -> str:
        with wakeup_kept():
            return ask(question, color=self._chat.setup.screen.color)

    def _hint(self, text: str) -> None:
        self._hint_text = text

    def _toolbar(self) -> FormattedText:
        width = self._session.output.get_size().columns
        text = self._hint_text[:width] or format_toolbar(self._chat, width)
        return FormattedText([("", plain(text) if self._chat.setup.screen.plain else text)])

    def _on_engine(self, engine: Backend) -> None:
        """Restore the state, on the loading thread."""
        restore_state(self._chat, engine)

    def _on_load(self) -> None:
        """Redraw the status bar, on the loading thread."""
        loop = self._session.app.loop
        if loop is not None:
            with suppress(RuntimeError):  # the prompt line has ended
                loop.call_soon_threadsafe(self._refresh)

    def _refresh(self) -> None:
        """Redraw the status bar, or end the prompt line if the model cannot be loaded."""
        app = self._session.app
        error = self._chat.model.loader.error
        if error is not None and app.is_running and app.future is not None and not app.future.done():
            app.exit(exception=error)
        app.invalidate()


def greeting(chat: Chat) -> str:
    """Return the first line of a conversation: the model, and what can be typed."""
    return f"chat with {chat.model.found.name} · /help lists the commands · Ctrl-D leaves"


def farewell(chat: Chat) -> str:
    """Return the command that resumes the conversation; empty if nothing of it is saved."""
    session = chat.session.current
    if session is None or not len(chat.tree):
        return ""
    return f"llamacli chat --session {shlex.quote(session.label)} resumes this conversation"


def continuation(width: int, line: int, wraps: int | bool, screen: Screen) -> FormattedText:
    """Return the prefix of a further line: a mark, except where a long line is only wrapped."""
    mark = "  " if wraps else "… "
    return FormattedText([("class:more", plain(mark) if screen.plain else mark)])


def make_style(theme: Theme) -> Style:
    """Return the style of the prompt line."""
    dim = theme.prompt_color("bright-black")
    return Style.from_dict(
        {
            "bottom-toolbar": f"noreverse fg:{dim}",
            "prompt": f"bold {theme.prompt_color('cyan')}",
            "more": dim,
            "mark": "reverse",
        }
    )


def open_history(setup: ChatSetup) -> History:
    """Return the history of earlier conversations, readable only by the user; in memory if no file can be used."""
    path = setup.prompt_line.history
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
        path.chmod(0o600)
    except OSError as error:
        setup.screen.warn(f"cannot save the history: {path}: {error.strerror or error}")
        return InMemoryHistory()
    return FileHistory(str(path))
