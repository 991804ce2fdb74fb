"""The terminal outside the prompt line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llamacli.render.text import columns, escape, escape_line, wrap

_MIN_ROOM = 16
"""Columns that a hanging indent must leave for text."""

_SHORT_INDENT = 4


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

    @property
    def width(self) -> int | None:
        """Columns of a row, None where rows are not wrapped. Some terminals wrap a row of their full width."""
        return max(self.size()[0] - 1, 1) if self.live else None

    def show_row(self, first: str, text: str) -> None:
        """Write a line from outside, wrapped between words; further rows are indented by the width of `first`."""
        self.write("\n".join(hanging_rows(escape_line(first), escape_line(text), self.width)) + "\n")

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
        if self.width is None:
            return line
        return "\n".join(wrap(line, self.width, first=line[: len(line) - len(line.lstrip())]))


def hanging_rows(first: str, text: str, width: int | None) -> list[str]:
    """Return the rows of a line that begins with `first`, which indents further rows if there is room. None does not wrap."""
    if width is None:
        return [(first + text).rstrip()]
    room = width - columns(first)
    if room < columns(text.partition(" ")[0]):
        return wrap(first + text, width, rest=" " * _SHORT_INDENT)
    rest = None if room >= _MIN_ROOM else " " * _SHORT_INDENT
    return [row.rstrip() for row in wrap(text, width, first=first, rest=rest)]
