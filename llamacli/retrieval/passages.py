"""The passages of a document: paragraphs and sections of about equal size, with their places.

A passage begins at a heading, or after an empty line, where that is possible; in source code rather at a line that is not
indented. A paragraph that is too long is split between lines, and a line that is too long between words. The end of a passage
that was cut is the beginning of the next one, as far as the overlap goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

from llamacli.documents.document import Document
from llamacli.store.vectors.entries import Passage

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend

SIZE, OVERLAP = 200, 30
"""Tokens of a passage, and of what it has in common with the one before. Small embedding models read 256."""

_TOKEN = re.compile(r"[A-Za-z]{1,6}|[0-9]{1,3}|[^\sA-Za-z0-9]")
_HEADING = re.compile(r"#{1,6} |={1,6} \S|(?:chapter|section) \d", re.IGNORECASE)
_UNDERLINE = re.compile(r"(?:=+|-+)\s*")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_HEADED = frozenset({".md", ".markdown", ".mdx", ".rst", ".adoc", ".txt", ".org", ""})
"""Suffixes of files whose lines can be headings. A line of source code that begins with # is a comment."""


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has: words, parts of long ones, numbers and signs."""
    return len(_TOKEN.findall(text))


def token_counter(engine: Backend) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text: exactly if the engine has the vocabulary, else about."""
    if engine.has_vocabulary:
        return lambda text: len(engine.text_turn(text).prompt.tokens)
    return estimate_tokens


@dataclass(frozen=True, slots=True)
class _Line:
    """A line or a part of one, its number, its length in tokens, and how well a passage can begin with it (0 is not)."""

    text: str
    number: int
    tokens: int
    start: int


_IN_PARAGRAPH, _PARAGRAPH, _BLOCK, _SECTION = range(4)


def split(document: Document, size: int = SIZE, overlap: int = OVERLAP) -> tuple[Passage, ...]:
    """Return the passages of a document, each of about `size` tokens at most."""
    headed = not document.has_lines or PurePath(document.name).suffix.lower() in _HEADED
    found = []
    for part in document.parts:
        for lines in _grouped(list(_lines(part.text, size, headed=headed)), size, overlap):
            place = f"{lines[0].number}-{lines[-1].number}" if document.has_lines else part.place
            found.append(Passage(_joined(lines), place))
    return tuple(found)


def _lines(text: str, size: int, *, headed: bool) -> Iterator[_Line]:
    """Yield the lines, long ones in parts."""
    rows = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    after_empty, fenced = True, False
    for number, row in enumerate(rows, 1):
        fenced ^= headed and _FENCE.match(row) is not None
        start = _IN_PARAGRAPH
        if row.strip():
            below = rows[number] if number < len(rows) else ""
            if headed and not fenced and _is_heading(row, below, after_empty=after_empty):
                start = _SECTION
            elif after_empty:
                start = _PARAGRAPH if row[0].isspace() or fenced else _BLOCK
        after_empty = not row.strip()
        for position, part in enumerate(_parts(row, size)):
            yield _Line(part, number, estimate_tokens(part), _IN_PARAGRAPH if position else start)


def _is_heading(row: str, below: str, *, after_empty: bool) -> bool:
    underlined = len(below) >= 3 and _UNDERLINE.fullmatch(below) is not None and after_empty
    return _HEADING.match(row) is not None or underlined


def _parts(row: str, size: int) -> Iterator[str]:
    """Yield a line in parts of at most about `size` tokens, between words if there are any."""
    while len(row) > size and estimate_tokens(row) > size:
        end = _end_of(row, size)
        space = row.rfind(" ", end // 2, end)
        end = space + 1 if space > 0 else end
        yield row[:end]
        row = row[end:]
    yield row


def _end_of(row: str, size: int) -> int:
    """Return the position after the first `size` tokens."""
    for count, match in enumerate(_TOKEN.finditer(row), 1):
        if count == size:
            return match.end()
    return len(row)


def _grouped(lines: Sequence[_Line], size: int, overlap: int) -> Iterator[Sequence[_Line]]:
    """Yield the lines of each passage, without empty lines around them."""
    first = start = 0
    while start < len(lines):
        end, is_cut = _passage_end(lines, start, max(size - overlap, 1))
        if _trimmed(lines[start:end]):
            yield _trimmed(lines[first:end])
        first = _overlapping(lines, start, end, overlap) if is_cut else end
        start = end


def _passage_end(lines: Sequence[_Line], start: int, size: int) -> tuple[int, bool]:
    """Return the end of the passage that begins at `start`, and whether it is in the middle of a section."""
    tokens, body = 0, False
    best = start
    for position in range(start, len(lines)):
        line = lines[position]
        if line.start == _SECTION and body:
            return position, False
        if position > start and line.start and (line.start >= lines[best].start or tokens * 2 < size or best == start):
            best = position
        if tokens + line.tokens > size and position > start:
            return (best if best > start else position), True
        tokens += line.tokens
        body = body or (line.tokens > 0 and line.start != _SECTION)
    return len(lines), False


def _overlapping(lines: Sequence[_Line], start: int, end: int, overlap: int) -> int:
    """Return the first of the last lines of a passage that have at most `overlap` tokens, and that do not begin it."""
    first, tokens = end, 0
    while first - 1 > start and (tokens := tokens + lines[first - 1].tokens) <= overlap:
        first -= 1
    return first


def _trimmed(lines: Sequence[_Line]) -> Sequence[_Line]:
    filled = [number for number, line in enumerate(lines) if line.text.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else ()


def _joined(lines: Sequence[_Line]) -> str:
    """Return the text of lines; the parts of one line are not separated."""
    text = lines[0].text
    for before, line in pairwise(lines):
        text += ("" if line.number == before.number else "\n") + line.text
    return text
