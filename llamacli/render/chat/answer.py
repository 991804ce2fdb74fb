"""An answer on a terminal while it grows: its reasoning dim, its content as Markdown or as plain text."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from llamacli.render.chat.live import LiveRegion, Row, Size
from llamacli.render.stream import AnswerStream

_PAUSE_FACTOR, _MAX_PAUSE_SECONDS = 8.0, 0.3
"""Pause before the next drawing: a multiple of the time of the last one, up to a maximum."""


class AnswerView(Protocol):
    """The view of an answer."""

    def add(self, text: str) -> None:
        """Show more of the content."""

    def think(self, text: str) -> None:
        """Show more of the reasoning, which precedes the content."""

    def finish(self) -> None:
        """Show the rest of a complete or stopped answer."""


class PlainView:
    """Plain text, with control characters as marks. With a `width` in columns lines are broken between words."""

    def __init__(self, write: Callable[[str], None], *, shows_reasoning: bool, width: Callable[[], int] | None = None) -> None:
        self._stream = AnswerStream(write, terminal=True, width=width)
        self._write = write
        self._shows_reasoning = shows_reasoning
        self._thinking = False

    def add(self, text: str) -> None:
        """Write the content at once."""
        if self._thinking:
            self._thinking = False
            self._stream.finish()
            self._write("\n")
        self._stream.add(text)

    def think(self, text: str) -> None:
        """Write the reasoning at once, if it is shown."""
        if self._shows_reasoning:
            self._thinking = True
            self._stream.add(text)

    def finish(self) -> None:
        """End the line."""
        self._stream.finish()


class MarkdownView:
    """Markdown: finished blocks are written once, and the last block is redrawn as it grows.

    Reasoning is folded to one line when the content begins, unless it has scrolled off the screen. `grows` is False where the
    output cannot be redrawn: only finished blocks are written. `resumes` counts how often the program was stopped and
    continued.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        size: Size,
        *,
        color: bool,
        shows_reasoning: bool,
        grows: bool = True,
        resumes: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._size = size
        self._color = color
        self._shows_reasoning = shows_reasoning
        self._grows = grows
        self._clock = clock
        self._region = LiveRegion(size, resumes)
        self._text = ""
        self._thought = ""
        self._thinking_since: float | None = None
        self._has_blocks = False
        self._next = 0.0

    def think(self, text: str) -> None:
        """Show the reasoning dim, or a placeholder if it is hidden."""
        if self._thinking_since is None:
            self._thinking_since = self._clock()
        self._thought += text
        self._draw_when_due()

    def add(self, text: str) -> None:
        """Show the content, and fold the reasoning."""
        if self._thinking_since is not None:
            self._fold()
        self._text += text
        self._draw_when_due()

    def finish(self) -> None:
        """Show the last block."""
        if self._thinking_since is not None:
            self._fold()
        self._draw(final=True)

    def _fold(self) -> None:
        from llamacli.render.chat.markdown import dim_rows

        seconds = self._clock() - (self._thinking_since or 0.0)
        self._thinking_since = None
        rows = [*dim_rows(f"thought for {seconds:.1f} s", self._width, color=self._color), ("", 0)]
        self._write(self._region.update(rows))
        self._region.keep(len(rows))

    def _draw_when_due(self) -> None:
        start = self._clock()
        if start >= self._next:
            self._draw(final=False)
            now = self._clock()
            self._next = now + min(_PAUSE_FACTOR * (now - start), _MAX_PAUSE_SECONDS)

    def _draw(self, *, final: bool) -> None:
        from llamacli.render.chat.markdown import dim_rows, markdown_rows
        from llamacli.render.chat.markdown_parser import unfinished_from

        if self._thinking_since is not None:
            if not self._grows:
                return
            text = self._thought if self._shows_reasoning else "thinking …"
            self._show(dim_rows(text.strip(), self._width, color=self._color))
            return
        text = self._text.replace("\r\n", "\n")
        if not final:
            text = text.removesuffix("\r")
        done = len(text) if final else unfinished_from(text)
        kept = self._block(markdown_rows(text[:done], self._width, color=self._color)) if done else []
        has_blocks = self._has_blocks or bool(kept)
        rest = markdown_rows(text[done:], self._width, color=self._color) if self._grows and done < len(text) else []
        self._show([*kept, *([("", 0)] if rest and has_blocks else []), *rest])
        if done:
            self._region.keep(len(kept))
            self._text = self._text.replace("\r\n", "\n")[done:]
            self._has_blocks = has_blocks

    def _block(self, rows: list[Row]) -> list[Row]:
        return [("", 0), *rows] if rows and self._has_blocks else rows

    def _show(self, rows: list[Row]) -> None:
        text = self._region.update(rows)
        if text:
            self._write(text)

    @property
    def _width(self) -> int:
        return max(self._size()[0] - 1, 1)  # some terminals wrap a row of their full width
