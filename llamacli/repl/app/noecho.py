"""The terminal around the prompt lines: nothing that is typed meanwhile shows, and all of it waits for the next one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from prompt_toolkit.input import Input


@contextlib.contextmanager
def quiet(source: Input) -> Iterator[None]:
    """No echo and no line editing inside, but Ctrl-C is still a signal. Does nothing if `source` is no terminal."""
    try:
        descriptor = source.fileno()
        import termios
    except (ImportError, NotImplementedError):
        yield
        return
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    now = termios.tcgetattr(descriptor)
    now[0] &= ~termios.ICRNL  # Enter stays Enter for the prompt line that reads it later
    now[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(descriptor, termios.TCSANOW, now)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
