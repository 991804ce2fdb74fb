"""Rows of cells in aligned columns, for a terminal of any width."""

from __future__ import annotations

from collections.abc import Sequence

from llamacli.render.text import columns
from llamacli.render.wrap import wrap

_GAP = "  "
_INDENT = " " * 4
_LEAST = 20
"""Columns that the last cell needs to be wrapped in its column."""


def format_columns(
    rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), width: int | None = None, names: int = 1
) -> str:
    """Return the rows with their cells below each other. Columns without text are left out, those of `right` end together.

    Rows wider than `width` columns (None: unlimited) are wrapped in the last column if that has room; otherwise only the first
    `names` cells stay in a line, and the others are below them.
    """
    widths = [max((columns(row[column]) for row in rows), default=0) for column in range(max(map(len, rows), default=0))]
    shown = [column for column, size in enumerate(widths) if size]
    if not shown:
        return ""
    cells = [[_aligned(row[column], widths[column], right=column in right) for column in shown] for row in rows]
    start = sum(widths[column] + len(_GAP) for column in shown[:-1])
    if width is None or start + widths[shown[-1]] <= width:
        lines = [_GAP.join(row).rstrip() for row in cells]
    elif shown[-1] not in right and width - start >= _LEAST:
        lines = [
            line.rstrip() for row in cells for line in wrap(row[-1], width, first=_GAP.join([*row[:-1], ""]), rest=" " * start)
        ]
    else:
        split = sum(column < names for column in shown)
        lines = [line.rstrip() for row in cells for line in _stacked(row, split, width)]
    return "\n".join(lines) + "\n"


def _stacked(row: Sequence[str], split: int, width: int) -> list[str]:
    others = _GAP.join(row[split:]).rstrip()
    more = wrap(others, width, first=_INDENT) if others.strip() else []
    return [*wrap(_GAP.join(row[:split]).rstrip(), width, rest=_INDENT), *more]


def _aligned(text: str, size: int, *, right: bool) -> str:
    space = " " * (size - columns(text))
    return space + text if right else text + space


def format_records(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the lines of a table for a narrow terminal: the first cell of each row, and below it a line for each other cell.

    `titles` are those of the other cells. Empty cells are left out.
    """
    label = max(map(columns, titles), default=0)
    lines: list[str] = []
    for name, *cells in rows:
        lines += wrap(name, width, rest=_GAP)
        for title, cell in zip(titles, cells, strict=False):
            if cell.strip():
                first = f"{_GAP}{title}{' ' * (label - columns(title))}{_GAP}"
                lines += wrap(cell.strip(), width, first=first)
    return lines
