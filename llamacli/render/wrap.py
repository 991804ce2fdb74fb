"""Text in rows of a terminal, broken between words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llamacli.render.tokenize.view import columns

_WORD = re.compile(r"(\s*)(\S+)")
_MIN_ROOM = 16
"""Columns that a hanging indent leaves for text."""

_SHORT_INDENT = 4


def wrap(text: str, width: int, *, hang: int = 0) -> list[str]:
    """Return the rows of one line of text, each at most `width` columns wide.

    Rows after the first are indented by `hang` columns, or by less where that leaves little room. White space between words
    stays within a row. Only a word that is wider than a row is broken.
    """
    width = max(width, 1)
    if width - hang < _MIN_ROOM:
        hang = min(hang, _SHORT_INDENT, width // 2)
    indent = " " * hang
    rows: list[str] = []
    row, is_blank = "", True
    for space, word in _words(text, width - hang):
        if columns(row) + len(space) + columns(word) <= width or (is_blank and not rows and not space):
            row += space + word
        else:
            if not is_blank:
                rows.append(row)
            row = indent + word
        is_blank = False
    return [*rows, row]


def wrap_parts(parts: list[str], separator: str, width: int) -> list[str]:
    """Return the rows of parts with a separator between them, broken between parts where these fit in a row."""
    rows = [""]
    for part in parts:
        joined = f"{rows[-1]}{separator}{part}" if rows[-1] else part
        if columns(joined) <= width:
            rows[-1] = joined
            continue
        rows += wrap(part, width)
    return [row for row in rows if row]


def _words(text: str, width: int) -> Iterator[tuple[str, str]]:
    """Yield the words with the white space before them; one that is wider than `width` in pieces."""
    for space, word in _WORD.findall(text):
        while columns(word) > width:
            end = 1
            while columns(word[: end + 1]) <= width:
                end += 1
            yield space, word[:end]
            space, word = "", word[end:]  # noqa: PLW2901
        if word:
            yield space, word
