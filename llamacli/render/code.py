"""Code blocks in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ITEM = r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]"
_OPENING = r"([ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(`{3,}(?=[^`]*$)|~{3,})"
_CLOSING = r"([ \t]*)(`{3,}|~{3,})[ \t\r]*$"
_TAB = 4
_SLACK = 3
"""Maximum columns of indentation of a fence relative to its container."""


def first_code_block(text: str) -> str | None:
    """Return the content of the first fenced code block; None without a block that is terminated."""
    return next(_blocks(text), None)


def code_blocks(text: str) -> list[str]:
    """Return the contents of all fenced code blocks that are terminated."""
    return list(_blocks(text))


def _blocks(text: str) -> Iterator[str]:
    """Yield the contents of the fenced code blocks.

    A block in a list item is indented like the item, or begins after the item's mark. The indentation of the first fence is
    removed from the lines (CommonMark 0.31, 4.5).
    """
    code: list[str] = []
    fence, width, is_list = "", 0, False
    for line in text.split("\n"):
        if fence:
            end = re.match(_CLOSING, line)
            if end and end[2].startswith(fence) and _columns(end[1]) <= width + _SLACK:
                yield "".join(part + "\n" for part in code)
                code, fence = [], ""
                continue
            code.append(_outdented(line, width))
            continue
        is_list = is_list or re.match(_ITEM, line) is not None
        begin = re.match(_OPENING, line)
        if begin and (is_list or _columns(begin[1]) <= _SLACK):
            fence, width = begin[2], _columns(begin[1])


def _columns(text: str) -> int:
    return len(text.expandtabs(_TAB))


def _outdented(line: str, width: int) -> str:
    """Return the line without up to `width` columns of its indentation."""
    column = 0
    for index, char in enumerate(line):
        if column >= width or char not in " \t":
            return " " * (column - width) + line[index:]
        column += _TAB - column % _TAB if char == "\t" else 1
    return ""
