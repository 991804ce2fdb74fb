"""Unbuffered byte streams: what the console reads and writes."""

from __future__ import annotations

import io
import os
import select
from collections.abc import Iterable
from contextlib import suppress

Stream = io.RawIOBase | io.BufferedIOBase
"""An unbuffered binary stream, or bytes in memory."""


def descriptor_of(stream: Stream | None) -> int | None:
    """The file descriptor of a stream; None for bytes in memory."""
    try:
        return stream.fileno() if stream is not None else None
    except io.UnsupportedOperation:
        return None


def open_standard(descriptor: int, mode: str) -> io.FileIO | None:
    """Open a standard stream of the process. One that was closed from the start is None.

    Its descriptor then points to the null device: otherwise the next file to be opened would become standard output.
    """
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)
        return None
    return io.FileIO(descriptor, mode, closefd=False)


def columns_of(descriptors: Iterable[int]) -> int:
    """The columns of the first of these terminals that has a size; 0 if none has."""
    for descriptor in descriptors:
        with suppress(OSError):
            return os.get_terminal_size(descriptor).columns
    return 0


def encode(text: str) -> bytes:
    """Encode text as UTF-8. Bytes of file names that are not UTF-8 are written unchanged, other surrogates as escapes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def write_all(stream: Stream, data: bytes) -> None:
    """Write all of `data`. Raises OSError."""
    remaining = memoryview(data)
    while remaining:
        written = stream.write(remaining)
        if written is None:  # another process made the pipe non-blocking, and it is full
            select.select([], [stream], [])
            continue
        remaining = remaining[written:]
