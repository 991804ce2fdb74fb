"""The terminal outside the prompt line."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from llamacli.render.text import escape, escape_line

_NARROWEST = 10
"""Columns below which lines are not wrapped at words."""


@dataclass(frozen=True, slots=True)
class Screen:
    """The terminal outside the prompt line.

    `write` accepts text that is already safe for a terminal; `size` returns columns and rows. `live` is False where the output
    cannot be redrawn, as in a file. `resumes` counts how often the program was stopped and continued: rows written before can
    then no longer be redrawn.
    """

    write: Callable[[str], None]
    size: Callable[[], tuple[int, int]]
    color: bool
    live: bool = True
    resumes: Callable[[], int] = lambda: 0

    def show(self, text: str) -> None:
        """Write text from outside, ended with a newline."""
        self.write(escape(text).rstrip("\n") + "\n")

    def note(self, line: str) -> None:
        """Write a dim line of the program, wrapped between words."""
        self.write(self.paint(self._wrapped(line), "2") + "\n")

    def warn(self, line: str) -> None:
        """Write a warning, wrapped between words."""
        self.write(self.paint(self._wrapped(line), "33") + "\n")

    def fail(self, line: str) -> None:
        """Write an error, wrapped between words."""
        self.write(self.paint(self._wrapped(line), "31") + "\n")

    def label(self, word: str) -> str:
        """Return a word of the program that begins a line."""
        return self.paint(word, "36")

    def paint(self, text: str, code: str) -> str:
        """Return safe text in a style (an SGR code), if colours are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text

    def _wrapped(self, line: str) -> str:
        line = escape_line(line)
        width = self.size()[0] - 1
        if not self.live or len(line) <= width or width < _NARROWEST:
            return line
        indent = line[: len(line) - len(line.lstrip())]
        return "\n".join(textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))
