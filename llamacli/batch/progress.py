"""Progress of a run over an input: the bytes of the rows that are done, not of those read ahead, and the time left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from llamacli.openai.batch_row import Row


class RowProgress:
    """Counts the bytes of finished rows, in any order. `total` is the size of the input, None if unknown.

    Rows of an earlier run count as done, but not for the speed.
    """

    def __init__(self, total: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self._earlier = 0
        self._sizes: dict[int, int] = {}
        self._clock = clock
        self._started = clock()

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows, and remember the size of each until it is finished."""
        end = 0
        for row in rows:
            self._sizes[row.number] = row.end - end
            end = row.end
            yield row

    def finish(self, number: int, *, earlier: bool = False) -> None:
        """Count a row as done. With `earlier` its result is from an earlier run."""
        size = self._sizes.pop(number, 0)
        self.done += size
        self._earlier += size if earlier else 0

    @property
    def left(self) -> str:
        """The time left, such as `, 1:02 left`, or nothing while it is unknown."""
        return format_left(self._clock() - self._started, self.done, self.total, earlier=self._earlier)


def format_left(elapsed: float, done: float, total: float | None, *, earlier: float = 0) -> str:
    """Return the time left, such as `, 1:02 left`, from the seconds that `done` - `earlier` took; empty if unknown."""
    if not total or not earlier < done < total:
        return ""
    seconds = round(elapsed * (total - done) / (done - earlier))
    minutes, hours = seconds // 60 % 60, seconds // 3600
    return f", {hours}:{minutes:02d}:{seconds % 60:02d} left" if hours else f", {minutes}:{seconds % 60:02d} left"


def input_size(stream: BinaryIO) -> int | None:
    """Return the remaining bytes of a regular file, None for anything else."""
    try:
        return max(os.fstat(stream.fileno()).st_size - stream.tell(), 0) or None if stream.seekable() else None
    except OSError:
        return None
