"""The last rows of a terminal, which may still change. Only those that differ are written again, so nothing flickers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Row = tuple[str, int]
"""A row with its styles, and how many columns it takes."""

Size = Callable[[], tuple[int, int]]
"""Columns and rows of the terminal now."""


class LiveRegion:
    """Rows that are shown and can be replaced. The cursor stands at the beginning of the row below them.

    What has scrolled off the screen cannot be changed any more, and stays as it was shown.
    """

    def __init__(self, size: Size) -> None:
        self._size = size
        self._shown: list[Row] = []

    def update(self, rows: Sequence[Row]) -> str:
        """What to write so that `rows` are shown instead of the old ones; empty if nothing changed."""
        width, height = self._size()
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
        """The first `count` rows are final."""
        del self._shown[:count]


def _height(row: Row, width: int) -> int:
    """Rows of the screen that a row takes, which are more once the terminal has become narrower."""
    return max(1, -(-row[1] // max(width, 1)))
