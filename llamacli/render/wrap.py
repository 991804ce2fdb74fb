"""Text in lines of a terminal: broken between words, or cut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llamacli.render.text import columns

_WORD = r"(\s*)(\S+)"
_CHARACTER = r"(?:\x1b\[[0-9;]*m)*.(?:\x1b\[0?m)*"
"""A character with the colours around it, which must not be torn."""

_MIN_ROOM = 16
"""Columns that a hanging indent leaves for text."""

_SHORT_INDENT = 4


def wrap(text: str, width: int | None, *, first: str = "", rest: str | None = None, breaks_words: bool = False) -> list[str]:
    """Break one line of text between words into lines of at most `width` columns; None does not break it.

    `first` begins the first line and `rest` the others; by default `rest` is as many spaces, which makes a hanging indent. An
    indent that leaves little room becomes shorter, and a `first` that leaves none is broken, too. White space within a line
    stays. A word that is longer than a line stays whole, so that a path can be copied, unless `breaks_words`. Colours take no
    columns, wide characters two.

    >>> wrap("the file does not exist", 24, first="error: ")
    ['error: the file does not', '       exist']
    """
    if width is None:
        return [first + text]
    width = max(width, 1)
    rest = _indent(" " * columns(first) if rest is None else rest, width)
    if columns(first) >= width and first.strip():
        first, text = "", first + text
    limit = width - columns(rest) if breaks_words else None
    lines: list[str] = []
    line, used, is_empty = first, columns(first), True
    for space, word in _words(text, limit):
        size = columns(space) + columns(word)
        is_better_below = used > columns(rest) and columns(rest) + columns(word) <= width
        if used + size > width and (not is_empty or space or is_better_below):
            if line.strip():
                lines.append(line.rstrip())
            line, used, space, size = rest, columns(rest), "", columns(word)  # noqa: PLW2901
        line += space + word
        used += size
        is_empty = False
    return [*lines, line]


def wrap_parts(parts: Sequence[str], separator: str, width: int | None, *, first: str = "") -> list[str]:
    """Return the lines of parts with a separator between them, broken between parts where these fit in a line.

    `first` begins the first line, and makes a hanging indent.

    >>> wrap_parts(["one two", "three"], " · ", 20, first="note: ")
    ['note: one two', '    three']
    """
    if width is None:
        return [first + separator.join(parts)]
    rest = _indent(" " * columns(first), width)
    lines, is_empty = [first], True
    for part in parts:
        joined = lines[-1] + (part if is_empty else separator + part)
        if columns(joined) <= width:
            lines[-1] = joined
        else:
            lines += wrap(part, width, first=lines.pop() if is_empty else rest, rest=rest)
        is_empty = False
    return [line for line in lines if line]


def cut(text: str, width: int | None) -> str:
    """Return text in at most `width` columns (None: unlimited), with an ellipsis in place of its end.

    >>> cut("the file does not exist", 10)
    'the file …'
    """
    if width is None or columns(text) <= width:
        return text
    end = len(_beginning(text, width - 1))
    return f"{text[:end]}…"


def shorten(text: str, width: int | None) -> str:
    """Return text in at most `width` columns (None: unlimited), with an ellipsis in place of its middle.

    >>> shorten("SmolLM2-135M-Instruct-Q4_K_M", 15)
    'SmolLM2…-Q4_K_M'
    """
    if width is None or columns(text) <= width:
        return text
    end = _beginning(text[::-1], (width - 1) // 2)[::-1]
    return f"{_beginning(text, width - 1 - columns(end))}…{end}"


def _indent(rest: str, width: int) -> str:
    """Return the beginning of further lines, with less white space where it would leave little room."""
    if rest.isspace() and width - len(rest) < _MIN_ROOM:
        return " " * min(len(rest), _SHORT_INDENT, width // 2)
    return rest


def _words(text: str, limit: int | None) -> Iterator[tuple[str, str]]:
    """Yield the words with the white space before them; one that is wider than `limit` columns in pieces.

    A long list is broken after a comma.
    """
    for space, word in re.findall(_WORD, text):
        if limit is None or columns(word) <= limit:
            yield space, word
            continue
        piece, used = "", 0
        for character in re.findall(_CHARACTER, word):
            size = columns(character)
            if piece and used + size > limit:
                end = piece.rfind(",") + 1
                end = end if 2 * end > limit else len(piece)
                yield space, piece[:end]
                space, piece = "", piece[end:]  # noqa: PLW2901
                used = columns(piece)
            piece += character
            used += size
        yield space, piece


def _beginning(text: str, width: int) -> str:
    """Return the longest beginning of text that takes at most `width` columns."""
    used = 0
    for place, character in enumerate(text):
        used += columns(character)
        if used > width:
            return text[:place]
    return text
