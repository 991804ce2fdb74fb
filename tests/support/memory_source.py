"""A GGUF file in memory, for tests that need no file on disk."""

from __future__ import annotations

from llamacli.gguf.text import short_name


class MemorySource:
    """A source of bytes in memory."""

    def __init__(self, data: bytes, name: str = "memory") -> None:
        self.data = data
        self.name = short_name(name)
        self.size = len(data)

    def read(self, offset: int, length: int, least: int | None = None) -> bytes:
        """Return up to `length` bytes from `offset`."""
        return self.data[offset : offset + length]
