"""A model's answer, written as it grows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from llamacli.render.text import columns, escape

_FENCE = r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})"
_INDENT = r"[ \t]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?"
_BEGINNING = 80
"""Characters of a line that show what it is."""

_TAB = 8
_JOINERS = "\u200d\ufe0f"
"""Characters that make others wider or narrower than they are alone."""


class AnswerStream:
    """Writes pieces of an answer through `write`, and ends it with a newline.

    On a terminal, control characters become marks (`render.text`); otherwise the text is unchanged. With `exact` no newline is
    added unless on a terminal, for text that another program continues. With a `width` in columns lines are broken between
    words (`WordWrap`).
    """

    def __init__(
        self, write: Callable[[str], None], *, terminal: bool, exact: bool = False, width: Callable[[], int] | None = None
    ) -> None:
        self._write = write
        self._terminal = terminal
        self._newline = terminal or not exact
        self._word_wrap = WordWrap(width) if width is not None else None
        self._pending = ""
        self._last = ""

    def add(self, text: str) -> None:
        """Write one piece at once."""
        if self._terminal:
            text = self._join_line_ends(text)
            text = escape(text)
        if text:
            self._put(text)

    def finish(self) -> None:
        """End the answer with one newline, unless it has one or is empty."""
        if self._pending:
            pending, self._pending = self._pending, ""
            self._put(escape(pending))
        if self._newline and self._last not in ("", "\n"):
            self._put("\n")

    def _put(self, text: str) -> None:
        self._write(self._word_wrap.add(text) if self._word_wrap is not None else text)
        self._last = text[-1]

    def _join_line_ends(self, text: str) -> str:
        r"""Turn CRLF into a newline, also if it is split between pieces; a lone CR would overwrite the line."""
        text = self._pending + text
        self._pending = "\r" if text.endswith("\r") else ""
        return text.removesuffix("\r").replace("\r\n", "\n")


class WordWrap:
    """Line breaks between words for text that grows on a terminal.

    Letters are shown at once; a word that meets the edge is erased and continues on the next line, with the indent of its list
    item. Code blocks and tables stay as they are, and so does a word that is longer than a line: a terminal copies what it
    breaks itself without line ends. `width` returns the present columns of the terminal.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._fence = ""
        self._start_line()

    def add(self, text: str) -> str:
        """Return what to write for more of the text."""
        limit = max(self._width() - 1, 1)  # in the last column the position of the cursor depends on the terminal
        return "".join(self._add(character, limit) for character in text)

    def _start_line(self) -> None:
        self._line = ""
        self._word = ""
        self._column = 0
        self._is_broken = False

    def _add(self, character: str, limit: int) -> str:
        if character == "\n":
            self._end_line()
            return character
        if len(self._line) < _BEGINNING:
            self._line += character
        if self._fence or self._line.lstrip()[:1] == "|" or re.match(_FENCE, self._line):
            return character
        return self._add_space(character, limit) if character in " \t" else self._add_letter(character, limit)

    def _add_space(self, character: str, limit: int) -> str:
        if self._column > limit:  # after a word longer than a line, which the terminal has broken
            self._column %= limit + 1
            self._is_broken = self._column == 0
        self._word = ""
        column = self._column + 1 if character == " " else self._column + _TAB - self._column % _TAB
        if column > limit:
            self._is_broken = True
        if self._is_broken:
            return ""
        self._column = column
        return character

    def _add_letter(self, character: str, limit: int) -> str:
        size = columns(character)
        indent = self._indent(limit)
        before = ""
        if self._is_broken:
            before = self._break(indent, "")
        elif self._column + size > limit and size and self._is_movable(size, indent, limit):
            before = self._break(indent, self._word)
        self._column += size
        if size == 2 or character in _JOINERS or unicodedata.category(character) == "So":
            self._word = ""  # a line can be broken after it, or its width is uncertain
        else:
            self._word += character
        return before + character

    def _is_movable(self, size: int, indent: str, limit: int) -> bool:
        """True if the word, with a character of `size` columns, is longer than the rest of this line, but not than the next."""
        length = columns(self._word)
        return self._column - length > len(indent) and self._column <= limit and len(indent) + length + size <= limit

    def _break(self, indent: str, word: str) -> str:
        """Return the start of a line with `word`, which is erased where it was."""
        length = columns(word)
        self._is_broken = False
        self._column = len(indent) + length
        erased = f"\x1b[{length}D\x1b[K" if length else ""
        return f"{erased}\n{indent}{word}"

    def _indent(self, limit: int) -> str:
        """Return the indent of the lines after the first."""
        match = re.match(_INDENT, self._line)
        size = len(match[0].expandtabs(_TAB)) if match else 0
        return " " * size if size <= limit // 2 else ""

    def _end_line(self) -> None:
        fence = re.match(_FENCE, self._line)
        if self._fence:
            if fence and fence[1].startswith(self._fence) and not self._line[fence.end() :].strip():
                self._fence = ""
        elif fence:
            self._fence = fence[1]
        self._start_line()
