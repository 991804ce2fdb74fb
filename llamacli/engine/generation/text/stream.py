"""From token bytes to text: whole characters only, without what could still become a stop text."""

from __future__ import annotations

import codecs


class TextStream:
    """Stream of text from pieces of bytes. The cost of a piece does not depend on the length before it."""

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = stops
        self._held = ""
        self.stop: str | None = None
        """The stop text that matched, or None."""

    def feed(self, piece: bytes) -> str:
        """Return the text that became certain with `piece`; with `stop` set, the last text before the stop text."""
        text = self._decoder.decode(piece)
        return self._release(text) if self._stops else text

    def finish(self) -> str:
        """Return the withheld text; a partial character becomes U+FFFD. Empty after a stop text."""
        if self.stop is not None:
            return ""
        rest = self._release(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return rest

    def _release(self, text: str) -> str:
        text = self._held + text
        found = [(text.find(stop), stop) for stop in self._stops if stop in text]
        if found:
            place, self.stop = min(found)
            self._held = ""
            return text[:place]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest proper prefix of `stop` that is a suffix of `text`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
