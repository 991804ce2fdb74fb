"""Cursor over a header that checks every length against the file before using it."""

from __future__ import annotations

import re
import struct
from functools import cache

from llamacli.errors import ModelFileError
from llamacli.gguf.source import Source

WINDOW = 1 << 18
"""Number of bytes per read."""

STRIDE = 128
"""Number of strings that one match of the skipping pattern covers."""

SHORT = 96
"""The pattern skips strings of fewer bytes than this."""

CUT = "the file may be truncated"
"""Hint for lengths that reach beyond the end of the file."""

_MARGIN = STRIDE * 64
"""Number of bytes that the window should hold before a match is tried."""


class Cursor:
    """A position in a file. Methods with a parameter `what` name it in the ModelFileError that they raise."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self.size = source.size
        self._window = b""
        self._base = 0
        self._index = 0
        self.set_byte_order("<")

    def set_byte_order(self, byte_order: str) -> None:
        """Set the byte order: `<` for little-endian, `>` for big-endian."""
        self.byte_order = byte_order
        self._u32 = struct.Struct(byte_order + "I").unpack_from
        self._u64 = struct.Struct(byte_order + "Q").unpack_from

    @property
    def offset(self) -> int:
        """The offset of the next byte."""
        return self._base + self._index

    @property
    def remaining(self) -> int:
        """The number of bytes up to the end of the file."""
        return self.size - self._base - self._index

    def seek(self, offset: int) -> None:
        """Move to a byte of the file."""
        if self._base <= offset <= self._base + len(self._window):
            self._index = offset - self._base
        else:
            self._window, self._base, self._index = b"", offset, 0

    def u32(self, what: str) -> int:
        """Read an unsigned integer of 4 bytes."""
        index = self._need(4, what)
        self._index = index + 4
        value: int = self._u32(self._window, index)[0]
        return value

    def u64(self, what: str) -> int:
        """Read an unsigned integer of 8 bytes."""
        index = self._need(8, what)
        self._index = index + 8
        value: int = self._u64(self._window, index)[0]
        return value

    def unpack(self, layout: struct.Struct, what: str) -> tuple[int, ...]:
        """Read several integers."""
        index = self._need(layout.size, what)
        self._index = index + layout.size
        return layout.unpack_from(self._window, index)

    def take(self, length: int, what: str) -> bytes:
        """Read `length` bytes; the caller bounds `length`."""
        index = self._need(length, what)
        self._index = index + length
        return self._window[index : index + length]

    def length(self, what: str) -> int:
        """Read the length in front of a string, and check it against the remaining bytes."""
        start = self.offset
        length = self.u64(what)
        if length > self.remaining:
            raise self.broken(start, f"{what} has {length} bytes, but only {self.remaining} remain", CUT)
        return length

    def skip(self, length: int, what: str) -> None:
        """Skip `length` bytes without reading them."""
        if length > self.remaining:
            raise self.broken(self.offset, f"{what} takes {length} bytes, but only {self.remaining} remain", CUT)
        self.seek(self.offset + length)

    def skip_strings(self, count: int, what: str) -> None:
        """Skip `count` strings.

        A Python loop over the lengths costs 0.1 µs per string, and large vocabularies have 800,000 of them. `re` is four
        times as fast: a pattern with one branch for each short length, matched `STRIDE` times without backtracking.
        """
        if count * 8 > self.remaining:
            raise self.broken(self.offset, f"{what} has {count} strings, but only {self.remaining} bytes remain", CUT)
        strides, rest = divmod(count, STRIDE) if self.byte_order == "<" else (0, count)
        pattern = _short_strings() if strides else None
        for _ in range(strides):
            if len(self._window) - self._index < _MARGIN and self._base + len(self._window) < self.size:
                self._refill(_MARGIN)
            match = pattern.match(self._window, self._index) if pattern else None
            if match:
                self._index = match.end()
            else:
                self._skip_one_by_one(STRIDE, what)
        self._skip_one_by_one(rest, what)

    def _skip_one_by_one(self, count: int, what: str) -> None:
        what = f"a string of {what}"
        for _ in range(count):
            index = self._index
            window = self._window
            end = index + 8
            if end <= len(window):
                end += self._u64(window, index)[0]
                if end <= len(window):
                    self._index = end
                    continue
            self.skip(self.length(what), what)

    def broken(self, offset: int, problem: str, hint: str | None = None) -> ModelFileError:
        """Return the error for corrupt content at `offset`."""
        return ModelFileError(f"{self.name}: at byte {offset}: {problem}", hint=hint, offset=offset)

    def _need(self, count: int, what: str) -> int:
        """Load `count` bytes into the window and return the index of the first."""
        if self._index + count > len(self._window):
            if count > self.remaining:
                raise ModelFileError(
                    f"{self.name}: the file ends at byte {self.size}, inside {what}",
                    hint="it is truncated: download or copy it again", offset=self.size,
                )  # fmt: skip
            self._refill(count)
            if len(self._window) < count:
                raise self.broken(self.offset, f"the file shrank while reading {what}")
        return self._index

    def _refill(self, count: int = 0) -> None:
        """Move the window to the current position and load at least `count` bytes, if the file has them."""
        self._base += self._index
        self._index = 0
        self._window = self.source.read(self._base, min(max(count, WINDOW), self.size - self._base), count)


@cache
def _short_strings() -> re.Pattern[bytes]:
    """Return the pattern of `STRIDE` strings shorter than `SHORT`, each after its length; frequent lengths first."""
    lengths = sorted(range(SHORT), key=lambda length: (abs(length - 8), length))
    branches = b"|".join(re.escape(bytes([length])) + rb"\0\0\0\0\0\0\0.{%d}+" % length for length in lengths)
    return re.compile(rb"(?s:" + branches + rb"){%d}+" % STRIDE)
