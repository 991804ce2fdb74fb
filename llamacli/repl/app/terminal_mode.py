"""The terminal between prompt lines: typed keys are not echoed, and wait for the next prompt line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from prompt_toolkit.input import Input


@contextlib.contextmanager
def no_echo(source: Input) -> Iterator[None]:
    """Disable echo and line editing inside; Ctrl-C is still a signal. Do nothing if `source` is not a terminal."""
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
