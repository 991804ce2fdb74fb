"""Locations in a text: lines, columns and byte offsets, and excerpts with carets."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\r|\n")
_EXCERPT_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Location:
    """A location: `line` and `column` count from 1, columns in characters; `offset` is in bytes of UTF-8 from 0."""

    line: int
    column: int
    offset: int


class LineIndex:
    """Index of the lines of a text, which end in LF, CR LF or CR. Converts character offsets to locations."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(match.end() for match in _LINE_END.finditer(text))]

    def location(self, index: int) -> Location:
        """Return the location of the character at `index`, or of the end of the text."""
        line = bisect_right(self._starts, index) - 1
        start = self._starts[line]
        return Location(line + 1, index - start + 1, len(self._text[:index].encode("utf-8", "surrogatepass")))

    def excerpt(self, start: int, end: int | None = None, width: int | None = None) -> tuple[str, ...]:
        """Return the line around `start`, cut to a readable width, and a line of carets from `start` to `end`.

        A smaller `width`, in characters without the ellipses at the ends, cuts it further. Empty for a blank line. Tabs and
        other control characters become one visible character each, to align the carets.
        """
        line = bisect_right(self._starts, start) - 1
        first = self._starts[line]
        match = _LINE_END.search(self._text, first)
        last = match.start() if match else len(self._text)
        if not self._text[first:last].strip():
            return ()
        room = _EXCERPT_WIDTH if width is None else max(min(width, _EXCERPT_WIDTH), 1)
        left = max(first, start - room // 2)
        right = min(last, left + room)
        shown = "".join(_visible(char) for char in self._text[left:right])
        before = "…" if left > first else ""
        after = "…" if right < last else ""
        carets = max(1, min(end if end is not None else start + 1, right) - start)
        return f"{before}{shown}{after}", " " * (len(before) + start - left) + "^" * carets


def _visible(char: str) -> str:
    if char == "\t":
        return " "
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return char if char.isprintable() else "�"
