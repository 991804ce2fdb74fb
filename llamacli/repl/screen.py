"""The terminal outside the prompt line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llamacli.render.text import escape, escape_line
from llamacli.render.theme import DARK, Theme
from llamacli.render.wrap import wrap


@dataclass(frozen=True, slots=True)
class Screen:
    """The terminal outside the prompt line.

    `write` accepts text that is already safe for a terminal; `size` returns columns and rows. `live` is False where the output
    cannot be redrawn, as in a file. `resumes` counts how often the program was stopped and continued: rows written before can
    then no longer be redrawn. `write` applies the theme, and writes marks in ASCII where the locale is `plain`; the prompt
    line, which writes by itself, does the same with these.
    """

    write: Callable[[str], None]
    size: Callable[[], tuple[int, int]]
    color: bool
    live: bool = True
    resumes: Callable[[], int] = lambda: 0
    theme: Theme = DARK
    plain: bool = False

    def show(self, text: str) -> None:
        """Write text from outside, ended with a newline."""
        self.write(escape(text).rstrip("\n") + "\n")

    @property
    def width(self) -> int | None:
        """Columns of a row, None where rows are not wrapped. Some terminals wrap a row of their full width."""
        return max(self.size()[0] - 1, 1) if self.live else None

    def show_row(self, first: str, text: str) -> None:
        """Write a line from outside, wrapped between words; further rows are indented by the width of `first`."""
        rows = wrap(escape_line(text), self.width, first=escape_line(first), breaks_words=True)
        self.write("\n".join(row.rstrip() for row in rows) + "\n")

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
        return "\n".join(wrap(line, self.width, rest=" " * (len(line) - len(line.lstrip()))))
