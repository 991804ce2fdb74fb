"""The outcome of a tool call, limited in size."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES, TAIL_BYTES = 12 << 10, 4 << 10
"""The bytes of a long result that are kept: its beginning and its end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The output of a call, a `note` about how it ended, and whether it `failed`."""

    output: str
    note: str = ""
    failed: bool = False

    @property
    def text(self) -> str:
        """The result for the model."""
        return "\n".join(part for part in (self.output.rstrip(), self.note) if part) or "[no output]"


class Clip:
    """The beginning and the end of a stream of bytes of any length."""

    def __init__(self, head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> None:
        self._limits = head, tail
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """Append bytes of the stream."""
        head, tail = self._limits
        room = head - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room < len(data) else b""
        surplus = len(self._tail) - tail
        if surplus > 0:
            del self._tail[:surplus]
            self._left_out += surplus

    def text(self) -> str:
        """The kept text, with a line for the omitted middle. Invalid UTF-8 becomes U+FFFD."""
        if not self._left_out:
            return (self._head + self._tail).decode("utf-8", "replace")
        begin, end = (bytes(part).decode("utf-8", "ignore") for part in (self._head, self._tail))
        return f"{begin}\n[{self._left_out} bytes left out]\n{end}"


def clipped(text: str) -> str:
    """Shorten a text to the length limit of a result."""
    clip = Clip()
    clip.add(text.encode("utf-8", "replace"))
    return clip.text()
