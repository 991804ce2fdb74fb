"""Unbuffered byte streams: what the console reads and writes."""

from __future__ import annotations

import io
import select

Stream = io.RawIOBase | io.BufferedIOBase
"""An unbuffered binary stream, or bytes in memory."""


def descriptor_of(stream: Stream | None) -> int | None:
    """The file descriptor of a stream; None for bytes in memory."""
    try:
        return stream.fileno() if stream is not None else None
    except io.UnsupportedOperation:
        return None


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
