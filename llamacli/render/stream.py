"""A model's answer, written as it grows."""

from __future__ import annotations

from collections.abc import Callable

from llamacli.render.text import escape


class AnswerStream:
    """Writes pieces of an answer through `write`, and ends it with a newline.

    On a terminal, control characters become marks (`render.text`); otherwise the text is unchanged. With `exact` no newline is
    added unless on a terminal, for text that another program continues.
    """

    def __init__(self, write: Callable[[str], None], *, terminal: bool, exact: bool = False) -> None:
        self._write = write
        self._terminal = terminal
        self._newline = terminal or not exact
        self._pending = ""
        self._last = ""

    def add(self, text: str) -> None:
        """Write one piece at once."""
        if self._terminal:
            text = self._join_line_ends(text)
            text = escape(text)
        if text:
            self._write(text)
            self._last = text[-1]

    def finish(self) -> None:
        """End the answer with one newline, unless it has one or is empty."""
        if self._pending:
            pending, self._pending = self._pending, ""
            self._write(escape(pending))
            self._last = pending
        if self._newline and self._last not in ("", "\n"):
            self._write("\n")
            self._last = "\n"

    def _join_line_ends(self, text: str) -> str:
        r"""Turn CRLF into a newline, also if it is split between pieces; a lone CR would overwrite the line."""
        text = self._pending + text
        self._pending = "\r" if text.endswith("\r") else ""
        return text.removesuffix("\r").replace("\r\n", "\n")
