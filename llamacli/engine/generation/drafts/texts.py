"""The texts from which answers are drafted: each its own, and earlier answers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from llamacli.engine.generation.drafts.gate import CERTAIN
from llamacli.engine.generation.drafts.repeats import GRAM, Repeats
from llamacli.engine.media.placeholders import is_placeholder
from llamacli.engine.params import MOST_DRAFT

_POOL_TOKENS = 1 << 16
"""Tokens of earlier answers that are kept to draft from."""

_LOOK_BACK = 32


class Texts:
    """The texts of running answers, by the numbers of their sequences, and those of earlier ones."""

    def __init__(self) -> None:
        self._own: dict[int, Repeats] = {}
        self._pool = Repeats()

    def guess(self, sequence: int, text: Sequence[int], last: int, certain: Sequence[int] = ()) -> tuple[int, list[int]]:
        """Return the length of the longest match of the end of a text and its last token, and the text that followed there.

        The text of a sequence grows from call to call. `certain` are tokens that must follow; they are returned as a match of
        the length `CERTAIN`.
        """
        match, tokens = (CERTAIN, certain) if certain else self._match(sequence, text, last)
        return match, list(itertools.takewhile(lambda token: not is_placeholder(token), tokens))

    def _match(self, sequence: int, text: Sequence[int], last: int) -> tuple[int, Sequence[int]]:
        own = self._own.get(sequence)
        if own is None or len(own) > len(text):  # a part of it was dropped, to make room in the context
            own = self._own[sequence] = Repeats()
        own.extend([*text[len(own) :], last])
        end = [*text[-_LOOK_BACK:], last]
        if len(end) <= GRAM:
            return 0, ()
        return max((own.guess(end, MOST_DRAFT), self._pool.guess(end, MOST_DRAFT)), key=lambda one: one[0])

    def forget(self, sequence: int) -> None:
        """Forget the text of a sequence."""
        self._own.pop(sequence, None)

    def ended(self, sequence: int, answer: Sequence[int]) -> None:
        """Forget a text, and keep its answer to draft others from."""
        self.forget(sequence)
        if len(self._pool) > _POOL_TOKENS:
            self._pool = Repeats()
        self._pool.extend(answer)
