"""The last rows of a terminal, which may still change. Only rows that differ are rewritten, to avoid flicker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Row = tuple[str, int]
"""A row with its styles, and its width in columns."""

Size = Callable[[], tuple[int, int]]
"""Return the columns and rows of the terminal."""


class LiveRegion:
    """Rows that are shown and can be replaced. The cursor is at the beginning of the row below them.

    Rows that have scrolled off the screen can no longer be changed. When `resumes` changes, the shell has written below the
    rows, and all of them are written again.
    """

    def __init__(self, size: Size, resumes: Callable[[], int] = lambda: 0) -> None:
        self._size = size
        self._resumes = resumes
        self._resumes_seen = resumes()
        self._shown: list[Row] = []

    def update(self, rows: Sequence[Row]) -> str:
        """Return the output that replaces the old rows by `rows`; empty if they are equal."""
        width, height = self._size()
        if self._resumes() != self._resumes_seen:
            self._resumes_seen = self._resumes()
            self._shown = []
        same = 0
        for old, new in zip(self._shown, rows, strict=False):
            if old != new:
                break
            same += 1
        if same == len(self._shown) == len(rows):
            return ""
        up = sum(_height(row, width) for row in self._shown[same:])
        while up >= height and same < len(self._shown):
            up -= _height(self._shown[same], width)
            same += 1
        self._shown = list(rows)
        erase = f"\x1b[{up}A\r\x1b[J" if up else ""
        return erase + "".join(f"{text}\n" for text, _ in rows[same:])

    def keep(self, count: int) -> None:
        """Mark the first `count` rows as final."""
        del self._shown[:count]


def _height(row: Row, width: int) -> int:
    """Return the height of a row on the screen, which grows when the terminal becomes narrower."""
    return max(1, -(-row[1] // max(width, 1)))
