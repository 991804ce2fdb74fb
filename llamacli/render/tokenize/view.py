"""Tokens as text: pieces over their ids, counts, and comparisons of vocabularies."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from llamacli.render.text import columns, escape, escape_line
from llamacli.render.wrap import cut, shorten, wrap_parts
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.engine.tokenization.compare import Comparison, Difference
    from llamacli.errors import LlamacliError

Paint = Callable[[str, str], str]
"""A function that puts a text in a style (an SGR code), or returns it unchanged where colours are off."""

STYLES = ("36", "33")
CONTROL_STYLE = "1;35"
_DIM = "2"
_GAP = 2
_LONGEST_CELL = 60
_MOST_PIECES = 24
_NARROWEST = 10
_EMBEDDINGS = "[embedding]"
_MARKS = {code: chr(0x2400 + code) for code in range(0x20)} | {0x20: "·", 0x09: "→", 0x0A: "⏎", 0x7F: "␡"}


@dataclass(frozen=True, slots=True)
class Count:
    """A document's name and size, or its error."""

    name: str
    tokens: int
    bytes: int
    error: LlamacliError | None = None


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    id: str
    width: int
    is_control: bool


def visible(piece: bytes) -> str:
    r"""Return a piece on one line: white space and control characters as marks, incomplete characters as `\xe2`."""
    return escape(piece.decode("utf-8", "backslashreplace").translate(_MARKS))


class TokenView:
    """Rows of pieces in alternating colours, with their ids below. A newline in the text ends a row."""

    def __init__(self, paint: Paint, *, width: int) -> None:
        self._paint = paint
        self._width = width
        self._cells: list[_Cell] = []
        self._used = 0
        self._number = 0
        self._embeddings = 0

    def add(self, token: int, piece: bytes, *, is_control: bool) -> str:
        """Add a token, and return the rows that it completes. A negative one stands for an embedding."""
        if token < 0:
            self._embeddings += 1
            return ""
        rows = self._add_embeddings()
        text = visible(piece)
        longest = min(_LONGEST_CELL, self._width)
        if columns(text) > longest:
            text = cut(text, longest // 2 + 1)
        rows += self._add_cell(_Cell(text, str(token), max(columns(text), len(str(token))), is_control))
        return rows + self._row() if piece.endswith(b"\n") else rows

    def finish(self) -> str:
        """Return the last row."""
        return self._add_embeddings() + self._row()

    def _add_embeddings(self) -> str:
        """Add a cell for the embeddings of a picture or a sound that were added, and return the row that it completes."""
        count, self._embeddings = self._embeddings, 0
        if not count:
            return ""
        number = f"{count:,} x"
        return self._add_cell(_Cell(_EMBEDDINGS, number, max(len(_EMBEDDINGS), len(number)), is_control=True))

    def _add_cell(self, cell: _Cell) -> str:
        row = self._row() if self._cells and self._used + cell.width > self._width else ""
        self._cells.append(cell)
        self._used += cell.width + _GAP
        return row

    def _row(self) -> str:
        cells, self._cells, self._used = self._cells, [], 0
        if not cells:
            return ""
        gap = " " * _GAP
        pieces, ids = [], []
        for cell in cells:
            style = CONTROL_STYLE if cell.is_control else STYLES[self._number % len(STYLES)]
            self._number += 1
            pieces.append(self._paint(cell.text, style) + " " * (cell.width - columns(cell.text)))
            ids.append(cell.id.ljust(cell.width))
        return gap.join(pieces).rstrip() + "\n" + self._paint(gap.join(ids).rstrip(), _DIM) + "\n"


def format_summary(count: Count, *, name: str = "", width: int | None = None) -> str:
    """Return the line below the view: `12 tokens · 45 bytes · 3.75 bytes per token`."""
    parts = [name + counted(count.tokens, "token"), counted(count.bytes, "byte"), f"{_ratio(count)} bytes per token"]
    return "\n".join(wrap_parts(parts, " · ", width))


def format_counts(counts: Sequence[Count]) -> str:
    """Return one number, or for several documents a line for each and a total, like wc."""
    if len(counts) == 1:
        return f"{counts[0].tokens}\n"
    total = total_of(counts)
    width = len(str(total.tokens))
    found = [count for count in counts if count.error is None]
    return "".join(f"{count.tokens:>{width}} {escape_line(count.name)}\n" for count in (*found, total))


def format_extensions(groups: Sequence[tuple[str, int, Count]], *, width: int | None = None) -> str:
    """Return a table: extension, files, tokens, bytes, bytes per token, largest first, and a total. `width` None: any."""
    total = total_of([count for _, _, count in groups])
    rows = [("EXTENSION", "FILES", "TOKENS", "BYTES", "BYTES/TOKEN")]
    for extension, files, count in (*groups, ("total", sum(files for _, files, _ in groups), total)):
        rows.append((escape_line(extension), f"{files:,}", f"{count.tokens:,}", f"{count.bytes:,}", _ratio(count)))
    return _table(rows, width, dispensable=(3, 4, 1))


def total_of(counts: Iterable[Count]) -> Count:
    """Return the sum, named total."""
    kept = list(counts)
    return Count("total", sum(count.tokens for count in kept), sum(count.bytes for count in kept))


def model_names(paths: Sequence[PurePath]) -> list[str]:
    """Return the stems of files, or where these are equal, as much of the ends of their paths as distinguishes them."""

    def end(path: PurePath, parts: int) -> str:
        return str(PurePath(*path.parts[-parts:])) if parts else path.stem

    names = []
    for path in paths:
        others = [other for other in paths if other != path]
        lengths = range(len(path.parts) + 1)
        names.append(next((end(path, n) for n in lengths if all(end(path, n) != end(other, n) for other in others)), str(path)))
    return names


def format_comparison(
    comparison: Comparison,
    paint: Paint,
    *,
    several_documents: bool,
    with_differences: bool = True,
    width: int | None = None,
) -> str:
    """Return a table of the vocabularies, and the first texts that they split differently, one below the other."""
    least = min(count.tokens for count in comparison.counts)
    rows = [("MODEL", "TOKENS", "BYTES/TOKEN", "")]
    for count in comparison.counts:
        more = f"+{100 * (count.tokens / least - 1):.1f} %" if least and count.tokens > least else ""
        rows.append((escape_line(count.name), f"{count.tokens:,}", f"{count.bytes_per_token:.2f}", more))
    text = _table(rows, width, dispensable=(2, 3))
    if not with_differences:
        return text
    if not comparison.differences:
        return text + "\nAll vocabularies split the text in the same way.\n"
    names = _distinguishable([escape_line(count.name) for count in comparison.counts], width and max(width // 3, _NARROWEST))
    for difference in comparison.differences:
        location = f"bytes {difference.start:,} to {difference.end:,}"
        if several_documents:
            document = shorten(escape_line(difference.document), width and max(width - len(location) - 2, _NARROWEST))
            location = f"{document}, {location}"
        text += f"\n{location}\n" + _format_difference(difference, names, paint, width)
    return text


def _format_difference(difference: Difference, names: Sequence[str], paint: Paint, width: int | None) -> str:
    lines = []
    indent = max(map(columns, names)) + 2 * _GAP
    for name, pieces in zip(names, difference.pieces, strict=True):
        texts = _fitting(pieces, width and max(width - indent, _NARROWEST))
        shown = "|".join(paint(text, STYLES[number % len(STYLES)]) for number, text in enumerate(texts))
        more = f" … and {len(pieces) - len(texts)} more" if len(pieces) > len(texts) else ""
        lines.append(f"  {name}{' ' * (indent - 2 * _GAP - columns(name))}  {shown}{more}\n")
    return "".join(lines)


def _fitting(pieces: Sequence[bytes], width: int | None) -> list[str]:
    """Return the first pieces, at least one, that fit beside the number of the others."""
    texts = [shorten(visible(piece)[:_LONGEST_CELL], width) for piece in pieces[:_MOST_PIECES]]
    if width is None or (len(texts) == len(pieces) and sum(map(columns, texts)) + len(texts) - 1 <= width):
        return texts
    room = width - len(f" … and {len(pieces)} more")
    ends = list(itertools.accumulate(columns(text) + 1 for text in texts))
    fitting = texts[: sum(end - 1 <= room for end in ends)]
    return fitting or [shorten(texts[0], max(room, 2))]


def _distinguishable(names: Sequence[str], width: int | None) -> list[str]:
    """Return names in at most `width` columns. Names that would look the same also lose their common beginning."""
    if width is None or max(map(columns, names)) <= width:
        return list(names)
    twins: dict[str, set[str]] = {}
    for name in names:
        twins.setdefault(shorten(name, width), set()).add(name)
    found = []
    for name in names:
        same = twins[shorten(name, width)]
        common = os.path.commonprefix(list(same)) if len(same) > 1 else ""  # noqa: RUF071  # by characters, not path components
        found.append(shorten(f"…{name[len(common) :]}" if common else name, width))
    return found


def _ratio(count: Count) -> str:
    return f"{count.bytes / count.tokens:.2f}" if count.tokens else "0.00"


def _table(rows: Sequence[Sequence[str]], width: int | None, *, dispensable: Sequence[int]) -> str:
    """Return a table whose first column has names. A narrow `width` omits the `dispensable` columns, one after the other."""
    widths = [max(columns(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = list(range(len(widths)))
    if width is not None:
        least, dropped = min(widths[0], _NARROWEST), iter(dispensable)
        while (others := sum(widths[column] + _GAP for column in shown[1:])) + least > width and (gone := next(dropped, 0)):
            shown.remove(gone)
        widths[0] = max(least, min(widths[0], width - others))
    lines = []
    for name, row in zip(_distinguishable([row[0] for row in rows], widths[0]), rows, strict=True):
        texts = (row[column].rjust(widths[column]) for column in shown[1:])
        lines.append("  ".join((name + " " * (widths[0] - columns(name)), *texts)).rstrip() + "\n")
    return "".join(lines)


def format_ids(tokens: Sequence[int], separator: str) -> str:
    """Return the ids with a separator between them."""
    text = str(list(tokens))[1:-1]
    return text if separator == ", " else text.replace(", ", separator)
