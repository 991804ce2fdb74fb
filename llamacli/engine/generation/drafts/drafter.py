"""Drafts for the running answers: from their own text, and from what was read and written before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from llamacli.engine.generation.batches.burst import STEPS
from llamacli.engine.generation.drafts.gate import CERTAIN, Account, Gate, size_of
from llamacli.engine.generation.drafts.repeats import GRAM, Repeats
from llamacli.engine.media.placeholders import is_placeholder
from llamacli.engine.params import MOST_DRAFT

_POOL_TOKENS = 1 << 16
"""Tokens of earlier answers that are kept to draft from."""

_LOOK_BACK = 32
_STEPS_NEAR_SUCCESS = 2


@dataclass(frozen=True, slots=True)
class Draft:
    """Drafted tokens, and the length of the match that they follow."""

    tokens: tuple[int, ...]
    match: int


class Drafter:
    """The drafts of the answers of a scheduler, which are made while one of them runs alone."""

    def __init__(self) -> None:
        self._gate = Gate()
        self._pool = Repeats()
        self._sequence = -1
        self._repeats, self._account = Repeats(), Account()
        self._follows_draft = False

    def draft(
        self, sequence: int, text: Sequence[int], last: int, most: int | None, room: int, *, certain: Sequence[int] = ()
    ) -> Draft | None:
        """Return a draft of what follows a text and its last token, if one pays: at most `room` tokens.

        At most `most`, too, which are then not weighed; None: as many as pay. `text` grows from call to call; `sequence` is its
        number. `certain` are tokens of text that must follow.
        """
        if sequence != self._sequence:
            self._sequence, self._repeats, self._account = sequence, Repeats(), Account()
        if len(self._repeats) > len(text):  # a part of it was dropped, to make room in the context
            self._repeats = Repeats()
        self._repeats.extend([*text[len(self._repeats) :], last])
        if room < 1:
            return None
        match, tokens = (CERTAIN, certain) if certain else self._guess([*text[-_LOOK_BACK:], last])
        tokens = list(itertools.takewhile(lambda token: not is_placeholder(token), tokens))
        available = min(len(tokens), room, MOST_DRAFT)
        count = self._worth(match, available) if most is None else min(most, available)
        return Draft(tuple(tokens[:count]), match) if count else None

    def _guess(self, end: Sequence[int]) -> tuple[int, Sequence[int]]:
        """Return the length of the longest match of the end of a text, and what followed there."""
        if len(end) <= GRAM:
            return 0, ()
        return max((self._repeats.guess(end, MOST_DRAFT), self._pool.guess(end, MOST_DRAFT)), key=lambda one: one[0])

    def _worth(self, match: int, available: int) -> int:
        """Return how many drafted tokens pay, and may be lost."""
        single = self._gate.single
        return 0 if single is None else self._gate.size(match, available, self._account.most_loss(single))

    def burst_limit(self, sequence: int, position: int) -> int:
        """Return how many tokens may be generated before the next look for a draft."""
        is_near = sequence == self._sequence and self._account.is_near_success(position)
        return _STEPS_NEAR_SUCCESS if is_near else STEPS

    def checked(self, draft: Draft, accepted: int, position: int, seconds: float) -> None:
        """Record how many tokens of the last draft were accepted, and how long its evaluation took."""
        count, single = len(draft.tokens), self._gate.single
        self._gate.measured_draft(size_of(count), seconds, draft.match, count, accepted)
        self._follows_draft = True
        if accepted:
            self._account.succeeded(position)
        if single is not None:
            self._account.book((accepted + 1) * single - seconds, seconds)

    def generated(self, count: int, seconds: float) -> None:
        """Record how long the evaluation of single tokens took. What the first one after a draft costs is the draft's."""
        single = self._gate.single
        if self._follows_draft and single is not None:
            self._account.book(min(0.0, count * single - seconds), seconds)
        else:
            self._account.book(0.0, seconds)
            self._gate.measured_single(seconds / count)
        self._follows_draft = False

    def ended(self, answer: Sequence[int]) -> None:
        """Keep an answer to draft others from."""
        if len(self._pool) > _POOL_TOKENS:
            self._pool = Repeats()
        self._pool.extend(answer)
