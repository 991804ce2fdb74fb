"""Questions to the user: on standard error, answered on standard input, when both are a terminal."""

from __future__ import annotations

import contextlib

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.terminal.streams import descriptor_of


def can_ask(console: Console) -> bool:
    """Return whether there is somebody to ask."""
    return console.terminals.stdin and console.terminals.stderr and not (console.ignores_input or console.input_is_used)


def ask(console: Console, question: str) -> str:
    """Put a question and return the typed line without blanks around it. Keys that were typed before it do not answer it.

    Raises:
        EOFError: on Ctrl-D.
        KeyboardInterrupt: on Ctrl-C, unless a guard has work that the signal cancels.
    """
    stream = console.input_stream()
    _forget_typed(descriptor_of(stream))
    console.write_error(question)
    line = stream.readline()
    if not line:
        console.write_error("\n")
        raise EOFError
    return line.decode("utf-8", "replace").strip()


def _forget_typed(descriptor: int | None) -> None:
    """Drop the lines that wait in the terminal."""
    if descriptor is None:
        return
    import termios  # no other system has such terminals

    with contextlib.suppress(termios.error):
        termios.tcflush(descriptor, termios.TCIFLUSH)
