"""What comes of a call, in so many bytes and no more."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES, TAIL_BYTES = 12 << 10, 4 << 10
"""What of a long result the model gets: its beginning and its end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call wrote, and a `note` about how it ended. `failed`: it did not do what it should."""

    output: str
    note: str = ""
    failed: bool = False

    @property
    def text(self) -> str:
        """What the model is told."""
        return "\n".join(part for part in (self.output.rstrip(), self.note) if part) or "[no output]"


class Clip:
    """The beginning and the end of a stream of bytes, however long that is."""

    def __init__(self, head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> None:
        self._limits = head, tail
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """Takes more of the stream."""
        head, tail = self._limits
        room = head - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room < len(data) else b""
        surplus = len(self._tail) - tail
        if surplus > 0:
            del self._tail[:surplus]
            self._left_out += surplus

    def text(self) -> str:
        """What was kept, with a line that says how much is missing in the middle. What is not UTF-8 is U+FFFD."""
        if not self._left_out:
            return (self._head + self._tail).decode("utf-8", "replace")
        begin, end = (bytes(part).decode("utf-8", "ignore") for part in (self._head, self._tail))
        return f"{begin}\n[{self._left_out} bytes left out]\n{end}"


def clipped(text: str) -> str:
    """A text that is no longer than a result may be."""
    clip = Clip()
    clip.add(text.encode("utf-8", "replace"))
    return clip.text()
