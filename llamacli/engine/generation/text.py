"""From token bytes to text that may be shown: whole characters only, and nothing that could still become a stop text."""

from __future__ import annotations

import codecs


class TextStream:
    """Takes pieces of bytes, gives text. The cost of a piece does not depend on how much came before it."""

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = stops
        self._held = ""
        self.stop: str | None = None
        """The stop text that was met, or None."""

    def feed(self, piece: bytes) -> str:
        """The text that became certain with `piece`. Once `stop` is set, this is the last text before the stop text."""
        text = self._decoder.decode(piece)
        return self._release(text) if self._stops else text

    def finish(self) -> str:
        """The text that was held back; an incomplete character becomes U+FFFD. Empty if a stop text was met."""
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
    """The length of the longest proper beginning of `stop` that `text` ends with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
