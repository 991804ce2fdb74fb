"""Limits of an answer at the lines of its text, as editors set them: a time limit and a minimum indentation."""

from __future__ import annotations

_BLANKS = " \t"


class LineLimits:
    """Reader of an answer's text that says when it is over.

    An answer is over with the first line that ends after `max_ms` of generation. It is also over at a line after the first with
    fewer than `min_indent` blanks before its first other character; that line is cut off, except its blanks. An empty line has
    no blanks.
    """

    def __init__(self, max_ms: float | None, min_indent: int) -> None:
        self._max_ms = max_ms
        self._min_indent = min_indent
        self._blanks: int | None = None  # of the current line, None when its text has begun; the first may start anywhere
        self.is_cut = False
        """True once a line was cut off."""

    def take(self, text: str, ms: float) -> tuple[str, bool]:
        """Return what the answer keeps of its next text, and True if it is over; `ms` is how long it has been generated."""
        for place, character in enumerate(text) if self._min_indent else ():
            if self._blanks is not None and character in _BLANKS:
                self._blanks += 1
                continue
            if self._blanks is not None and self._blanks < self._min_indent:
                self.is_cut = True
                return text[:place], True
            self._blanks = 0 if character == "\n" else None
        return text, self._max_ms is not None and ms > self._max_ms and "\n" in text
