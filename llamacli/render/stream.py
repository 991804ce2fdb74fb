"""A model's answer, written as it comes."""

from __future__ import annotations

from collections.abc import Callable

from llamacli.render.text import escape


class AnswerStream:
    """Writes pieces of an answer through `write`, and ends it with a newline.

    On a terminal what could steer it is shown as marks (`render.text`); off a terminal every character goes through as it is.
    With `exact` nothing is added at the end off a terminal, for text that another program will continue.
    """

    def __init__(self, write: Callable[[str], None], *, terminal: bool, exact: bool = False) -> None:
        self._write = write
        self._terminal = terminal
        self._newline = terminal or not exact
        self._held = ""
        self._last = ""

    def add(self, text: str) -> None:
        """Writes one piece at once."""
        if self._terminal:
            text = self._join_line_ends(text)
            text = escape(text)
        if text:
            self._write(text)
            self._last = text[-1]

    def finish(self) -> None:
        """Ends the answer: one newline, unless it ends with one or is empty."""
        if self._held:
            held, self._held = self._held, ""
            self._write(escape(held))
            self._last = held
        if self._newline and self._last not in ("", "\n"):
            self._write("\n")
            self._last = "\n"

    def _join_line_ends(self, text: str) -> str:
        r"""CRLF is a newline, even when its halves come apart; a lone CR would let text overwrite what was shown."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        return text.removesuffix("\r").replace("\r\n", "\n")
