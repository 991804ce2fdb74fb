"""The mode of the terminal between prompt lines, also after the shell has stopped and continued the program."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from prompt_toolkit.application import Application
from prompt_toolkit.input import Input

_Attributes = list[int | list[bytes | int]]


class TerminalMode:
    """Disables echo and line editing while `app` draws no prompt line; Ctrl-C and Ctrl-Z are still signals.

    Typed keys wait for the next prompt line. `resumes` counts how often the program was continued after a stop: the rows above
    the cursor then belong to the shell.
    """

    def __init__(self, source: Input, app: Application[str]) -> None:
        self._source = source
        self._app = app
        self._mode: _Attributes | None = None
        self.resumes = 0

    @contextlib.contextmanager
    def no_echo(self) -> Iterator[None]:
        """Set the mode inside. Do nothing if the input is not a terminal."""
        try:
            descriptor = self._source.fileno()
            import termios
        except (ImportError, NotImplementedError):
            yield
            return
        if not os.isatty(descriptor):
            yield
            return
        before = termios.tcgetattr(descriptor)
        mode = termios.tcgetattr(descriptor)
        mode[0] &= ~termios.ICRNL  # Enter stays Enter for the prompt line that reads it later
        mode[3] &= ~(termios.ECHO | termios.ICANON)
        self._mode = mode
        termios.tcsetattr(descriptor, termios.TCSANOW, mode)
        handler = signal.signal(signal.SIGCONT, self._resume)
        try:
            yield
        finally:
            signal.signal(signal.SIGCONT, handler)
            termios.tcsetattr(descriptor, termios.TCSANOW, before)

    def _resume(self, number: int, frame: FrameType | None) -> None:
        """Set the mode again, or draw the prompt line again; prompt_toolkit does so itself after its own Ctrl-Z."""
        self.resumes += 1
        if self._app.is_running and self._app.loop is not None:
            self._app.loop.call_soon_threadsafe(self._redraw)
            return
        import termios

        assert self._mode is not None
        termios.tcsetattr(self._source.fileno(), termios.TCSANOW, self._mode)

    def _redraw(self) -> None:
        if self._app.is_running:
            self._app.renderer.reset()
            self._app.invalidate()
