"""The loop: a prompt line, what it says, and what is done about it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application.current import get_app_session
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from llamacli.repl.app.completer import ChatCompleter
from llamacli.repl.app.confirm import ask
from llamacli.repl.app.hidden_characters import ShowHidden
from llamacli.repl.app.key_bindings import make_bindings
from llamacli.repl.app.noecho import quiet
from llamacli.repl.app.toolbar import format_toolbar
from llamacli.repl.conversation.kv_state import restore_state
from llamacli.repl.conversation.model_loader import Loader
from llamacli.repl.conversation.state import Chat
from llamacli.repl.dispatch import obey, send, take_turn
from llamacli.repl.errors import tell
from llamacli.repl.lifecycle import running
from llamacli.repl.setup import ChatSetup

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine

_STYLE = Style.from_dict(
    {"bottom-toolbar": "noreverse fg:ansibrightblack", "prompt": "bold ansicyan", "more": "ansibrightblack", "mark": "reverse"}
)
_MODES = {"emacs": EditingMode.EMACS, "vi": EditingMode.VI}


def converse(setup: ChatSetup) -> None:
    """Runs a conversation until the user leaves.

    Raises:
        LlamacliError: the model cannot be loaded, or the engine failed.
    """
    Loop(setup).run()


class Loop:
    """A conversation and its prompt line."""

    def __init__(self, setup: ChatSetup) -> None:
        self._session: PromptSession[str] = PromptSession(
            message=FormattedText([("class:prompt", "> ")]),
            prompt_continuation=continuation,
            multiline=True,
            history=open_history(setup),
            completer=ChatCompleter(lambda: self._chat),
            complete_while_typing=False,
            complete_in_thread=True,
            key_bindings=make_bindings(self._hint),
            input_processors=[ShowHidden()],
            bottom_toolbar=self._toolbar,
            editing_mode=_MODES[setup.editing],
            style=_STYLE,
            color_depth=None if setup.screen.color else ColorDepth.DEPTH_1_BIT,
        )
        self._session.app.key_processor.before_key_press += lambda _: self._hint("")
        self._chat = Chat(setup, Loader(setup.model.load, self._on_load, self._on_engine), ask=self._ask)

    def run(self) -> None:
        """Reads and obeys until the end. Between two prompt lines the terminal is quiet: what is typed there is not lost."""
        with running(self._chat), quiet(get_app_session().input):
            self._converse()

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
                self._turn(partial(obey, chat, text))

    def _read(self) -> str:
        """What the prompt line says; empty after a SIGINT that came from elsewhere."""
        chat = self._chat
        chat.hint = ""
        draft, chat.draft = chat.draft, ""
        try:
            with wakeup_kept():
                return self._session.prompt(default=draft, handle_sigint=False, pre_run=self._refresh)
        except KeyboardInterrupt:
            return ""

    def _turn(self, work: Callable[[], None]) -> None:
        """Does what was asked. What fails is said, and the user goes on."""
        chat = self._chat
        try:
            take_turn(chat, work)
        except KeyboardInterrupt:
            pass
        except Exception as error:  # noqa: BLE001  # a mistake of ours must not end a conversation
            tell(chat, error)

    def _ask(self, question: str) -> str:
        with wakeup_kept():
            return ask(question, color=self._chat.setup.screen.color)

    def _hint(self, text: str) -> None:
        self._chat.hint = text

    def _toolbar(self) -> FormattedText:
        return FormattedText([("", format_toolbar(self._chat, self._session.output.get_size().columns))])

    def _on_engine(self, engine: Engine) -> None:
        """Called on the loading thread."""
        restore_state(self._chat, engine)

    def _on_load(self) -> None:
        """Called on the loading thread."""
        loop = self._session.app.loop
        if loop is not None:
            with suppress(RuntimeError):  # the prompt line ended meanwhile
                loop.call_soon_threadsafe(self._refresh)

    def _refresh(self) -> None:
        """Draws the status bar again, or ends the prompt line when there will be no model."""
        app = self._session.app
        error = self._chat.loader.error
        if error is not None and app.is_running and app.future is not None and not app.future.done():
            app.exit(exception=error)
        app.invalidate()


def continuation(width: int, line: int, wraps: int | bool) -> FormattedText:
    """What stands before a further line: a mark, but not where a long line is only wrapped."""
    return FormattedText([("class:more", "  " if wraps else "… ")])


def open_history(setup: ChatSetup) -> History:
    """The history of earlier conversations, readable for the user alone; of this one only if it cannot be kept."""
    if setup.history is None:
        return InMemoryHistory()
    try:
        setup.history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(setup.history, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
        setup.history.chmod(0o600)
    except OSError as error:
        setup.screen.warn(f"the history cannot be kept: {setup.history}: {error.strerror or error}")
        return InMemoryHistory()
    return FileHistory(str(setup.history))


@contextmanager
def wakeup_kept() -> Iterator[None]:
    """The event loop of the prompt line takes the descriptor that signals are written to. Afterwards it is as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
