"""The elements of a JSON array, split off a stream one at a time, however large the array is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llamacli.errors import UsageError

_BLOCK = 1 << 16
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]|"', re.DOTALL)
"""Strings, brackets and commas. A quote alone begins a string that continues beyond the data."""


@dataclass(frozen=True, slots=True)
class Element:
    """The text of an element, perhaps invalid, and its line and column in the input, both from 1.

    `end` is the number of bytes of the input up to its end. `problem` is one of the array, after its last element, or None.
    """

    text: bytes
    line: int
    column: int
    end: int
    problem: str | None = None


class ArraySplitter:
    """Splits an array, with which a stream begins, into the texts of its elements.

    `read` returns up to N bytes, and none at the end of the stream. `name` is the stream's name in messages.
    """

    def __init__(self, read: Callable[[int], bytes], *, max_bytes: int, name: str) -> None:
        self._read, self._max_bytes, self._name = read, max_bytes, name
        self._data = b""
        self._start = self._scan = 0  # of the current element, and of what is not searched for tokens yet
        self._line = self._column = 1
        self._end = 0

    def elements(self) -> Iterator[Element]:
        """Yield the elements. An array that is not closed, or not alone, has a last element with this problem.

        Raises:
            UsageError: if an element has more than `max_bytes` bytes.
        """
        self._next_token()  # the opening bracket
        self._advance(self._take())
        depth, is_empty = 0, True
        while (token := self._next_token()) is not None:
            if token in (b"[", b"{"):
                depth += 1
            elif depth == 0 and token in (b",", b"]"):
                element = self._element(self._take(), token)
                if element.text or token == b"," or not is_empty:
                    yield element
                is_empty = False
                if token == b"]":
                    yield from self._rest()
                    return
            elif token in (b"]", b"}"):
                depth = max(depth - 1, 0)
        self._scan = len(self._data)
        rest = self._element(self._take())
        yield Element(rest.text, rest.line, rest.column, self._end, f"line {self._line}: the array is not closed")

    def _next_token(self) -> bytes | None:
        """Return the next string, bracket or comma, reading as far as necessary, or None at the end of the stream."""
        while True:
            match = _TOKENS.search(self._data, self._scan)
            if match is not None and match[0] != b'"':
                self._scan = match.end()
                return match[0]
            self._scan = match.start() if match is not None else len(self._data)
            size = len(self._data) - self._start
            if size > self._max_bytes:
                raise UsageError(f"{self._name}: the row at line {self._line} is longer than {self._max_bytes >> 20} MiB")
            more = self._read(max(_BLOCK, size))  # as much again, so that a long string is not searched too often
            if not more:
                return None
            self._data = self._data[self._start :] + more
            self._start, self._scan = 0, self._scan - self._start

    def _take(self) -> bytes:
        """Return the data up to the last token, with it."""
        data = self._data[self._start : self._scan]
        self._start = self._scan
        return data

    def _element(self, data: bytes, delimiter: bytes = b"") -> Element:
        text = data.removesuffix(delimiter)
        stripped = text.lstrip()
        self._advance(text[: len(text) - len(stripped)])
        line, column = self._line, self._column
        self._advance(data[len(text) - len(stripped) :])
        return Element(stripped.rstrip(), line, column, self._end)

    def _rest(self) -> Iterator[Element]:
        """Yield an element with a problem if the array is followed by anything but white space."""
        data = self._data[self._start :]
        while data or (data := self._read(_BLOCK)):
            rest = self._element(data)
            if rest.text:
                yield Element(
                    rest.text, rest.line, rest.column, self._end, f"line {rest.line}: text after the end of the array"
                )
                return
            data = b""

    def _advance(self, data: bytes) -> None:
        """Move line, column and end over the data."""
        self._end += len(data)
        if newlines := data.count(b"\n"):
            self._line, self._column = self._line + newlines, 1
            data = data[data.rindex(b"\n") + 1 :]
        self._column += len(data.decode("utf-8", "replace"))
