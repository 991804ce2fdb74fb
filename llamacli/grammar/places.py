"""Where something is in a text: lines, columns and byte offsets, and the excerpt with a caret that shows it."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\r|\n")
_EXCERPT_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Place:
    """`line` and `column` count from 1, columns in characters; `offset` counts bytes of UTF-8 from 0."""

    line: int
    column: int
    offset: int


class Places:
    """Turns character offsets of one text into places. Lines end in LF, CR LF or CR."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(match.end() for match in _LINE_END.finditer(text))]

    def at(self, index: int) -> Place:
        """The place of the character at `index`, or of the end of the text."""
        line = bisect_right(self._starts, index) - 1
        start = self._starts[line]
        return Place(line + 1, index - start + 1, len(self._text[:index].encode("utf-8", "surrogatepass")))

    def excerpt(self, start: int, end: int | None = None) -> tuple[str, ...]:
        """The line around `start`, cut to a readable width, and a line of carets below `start` up to `end`.

        A blank line has no excerpt.
        Tabs and other control characters become one visible character each, so that the carets stand where they should.
        """
        line = bisect_right(self._starts, start) - 1
        first = self._starts[line]
        match = _LINE_END.search(self._text, first)
        last = match.start() if match else len(self._text)
        if not self._text[first:last].strip():
            return ()
        left = max(first, start - _EXCERPT_WIDTH // 2)
        right = min(last, left + _EXCERPT_WIDTH)
        shown = "".join(_visible(char) for char in self._text[left:right])
        before = "…" if left > first else ""
        after = "…" if right < last else ""
        width = max(1, min(end if end is not None else start + 1, right) - start)
        return f"{before}{shown}{after}", " " * (len(before) + start - left) + "^" * width


def _visible(char: str) -> str:
    if char == "\t":
        return " "
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return char if char.isprintable() else "�"
