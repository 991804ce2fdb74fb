"""A progress line, redrawn in place. For terminals only."""

from __future__ import annotations

import time
from collections.abc import Callable

from llamacli.render.text import escape_line
from llamacli.units import format_bytes

_SHORTEST_BAR, _LONGEST_BAR = 6, 24
_REDRAW_SECONDS = 0.1


class NoProgress:
    """A progress display that shows nothing, for output that is not a terminal."""

    def update(self, what: str, done: float, total: float | None, *, unit: str = "", at_once: bool = False) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class ProgressLine(NoProgress):
    """A progress bar of one line, removed by `finish`. It appears once the work has taken `delay` seconds.

    `show` replaces the content of the line; an empty string removes it.
    """

    def __init__(
        self,
        show: Callable[[str], None],
        *,
        width: int,
        delay: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show = show
        self._width = width
        self._clock = clock
        self._next = clock() + delay
        self._shown = False

    def update(self, what: str, done: float, total: float | None, *, unit: str = "", at_once: bool = False) -> None:
        """Show `done` of `total` (None: unknown), as bytes if `unit` is "B", else as a percentage.

        `at_once` redraws even right after the last update, for updates that may be the last for a long time.
        """
        now = self._clock()
        if now < self._next and not at_once:
            return
        self._next = now + _REDRAW_SECONDS
        self._shown = True
        self._show(format_progress(what, done, total, unit=unit, width=self._width))

    def finish(self) -> None:
        """Remove the line."""
        if self._shown:
            self._show("")
            self._shown = False


def format_progress(what: str, done: float, total: float | None, *, unit: str = "", width: int = 80) -> str:
    """The text of the line, at most `width` - 1 columns, so that the cursor stays on the line."""
    amount = f"{format_bytes(done)} of {format_bytes(total)}" if unit == "B" and total else ""
    if unit == "B" and not total:
        amount = format_bytes(done) if done else ""
    room = max(width - 1, 1)
    share = min(max(done / total, 0.0), 1.0) if total else None
    tail = f" {share:4.0%} {amount}".rstrip() if share is not None else f" {amount}".rstrip()
    what = escape_line(what)
    bar = min(room - len(what) - len(tail) - 1, _LONGEST_BAR)
    if share is not None and bar >= _SHORTEST_BAR:
        filled = round(share * bar)
        return f"{what} {'━' * filled}{'╌' * (bar - filled)}{tail}"
    space = max(room - len(tail), 0)
    if len(what) > space:
        what = what[: max(space - 1, 0)] + "…" if space else ""
    return (what + tail)[:room]
