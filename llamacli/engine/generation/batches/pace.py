"""The pace of prompts: parts so small that sequences which generate meanwhile do not wait long."""

from __future__ import annotations

from typing import Final

_LEAST_TOKENS: Final = 16
"""Tokens of the smallest part: a token of a smaller one takes much longer."""

_WEIGHT: Final = 0.3
"""Weight of a new measurement."""


class PromptPace:
    """How many prompt tokens may be evaluated at once while others generate, at most `most`.

    They take about `seconds`, as measured with the parts before; None sets no limit.
    """

    def __init__(self, seconds: float | None, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._tokens_per_second: float | None = None

    @property
    def limit(self) -> int:
        """The number of tokens."""
        if self._seconds is None or self._tokens_per_second is None:
            return self._most
        return min(self._most, max(_LEAST_TOKENS, int(self._seconds * self._tokens_per_second)))

    @property
    def is_bounded(self) -> bool:
        """True if the sequences that generate have a step after each part."""
        return self._seconds is not None

    def measured(self, tokens: int, seconds: float) -> None:
        """Record how long a part of a prompt took. The time of a few tokens is no measure of the speed."""
        if tokens < _LEAST_TOKENS or seconds <= 0:
            return
        speed, known = tokens / seconds, self._tokens_per_second
        self._tokens_per_second = speed if known is None else known + _WEIGHT * (speed - known)
