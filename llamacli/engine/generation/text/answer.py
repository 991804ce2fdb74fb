"""The text of an answer while it grows, up to a stop text or the limits of its lines."""

from __future__ import annotations

import time

from llamacli.engine.generation.text.line_limits import LineLimits
from llamacli.engine.generation.text.stream import TextStream
from llamacli.engine.params import GenerationParams


class AnswerText:
    """From the bytes of an answer's tokens to its text. `keeps`: all of it is kept if a stop text may cut it."""

    def __init__(self, params: GenerationParams, *, keeps: bool) -> None:
        self._stream = TextStream(params.stop)
        has_limits = params.max_ms is not None or params.min_indent
        self._lines = LineLimits(params.max_ms, params.min_indent) if has_limits else None
        self._kept: list[str] | None = [] if keeps and params.stop else None

    def add(self, piece: bytes) -> str:
        """Return the text that became certain with `piece`, whatever the limits of lines."""
        text = self._stream.feed(piece)
        if self._kept is not None:
            self._kept.append(text)
        return text

    def generated(self, piece: bytes, begin: float) -> tuple[str, bool]:
        """Return the text that became certain with `piece`, and True if the answer, generated since `begin`, is over."""
        text = self.add(piece)
        return self._lines.take(text, 1e3 * (time.perf_counter() - begin)) if self._lines is not None else (text, False)

    def rest(self) -> str:
        """Return the text that was withheld, as far as the limits of its lines allow it."""
        if self.is_cut:
            return ""
        rest = self._stream.finish()
        return rest if self._lines is None else self._lines.take(rest, 0.0)[0]

    @property
    def stop(self) -> str | None:
        """The stop text that ended it, or None."""
        return self._stream.stop

    @property
    def is_cut(self) -> bool:
        """True once a line was cut off."""
        return self._lines is not None and self._lines.is_cut

    @property
    def kept(self) -> str:
        """The text before the stop text, if it was kept."""
        return "".join(self._kept or ())
