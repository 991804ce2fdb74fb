"""Drafts for the running answers: from their own text, from what was read and written before, and by a draft model."""

from __future__ import annotations

from collections.abc import Sequence as Series
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.engine.generation.batches.burst import STEPS
from llamacli.engine.generation.drafts.gate import MODEL, STEPS_NEAR_SUCCESS, Account, Gate, size_of
from llamacli.engine.generation.drafts.source import DraftSource
from llamacli.engine.generation.drafts.texts import Texts
from llamacli.engine.params import MOST_DRAFT

if TYPE_CHECKING:
    from llamacli.engine.generation.sequence import Sequence

_PATIENCE = 8
"""Tokens without a draft after which a source that has to see every token is given up for the answer."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Drafted tokens, the length of the match that they follow, and the seconds that making them took.

    `padding` are tokens after them that are evaluated only to make the draft as long as those beside it.
    """

    tokens: tuple[int, ...]
    match: int
    seconds: float = 0.0
    padding: int = 0

    @property
    def size(self) -> int:
        """The tokens of its evaluation, that before it included."""
        return 1 + len(self.tokens) + self.padding


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a draft: `most` tokens, which are not weighed then, None for as many as pay; and `room` for so many.

    `p_min` is the least probability that a draft model must give to a token.
    """

    most: int | None
    room: int
    p_min: float = 0.0


class Drafter:
    """The drafts of the answers of a scheduler, which are made while one of them runs alone.

    `model` makes those that no text suggests: a draft model or the model's own heads, if there are any.
    """

    def __init__(self, model: DraftSource | None = None) -> None:
        self._gate = Gate()
        self.model = model
        self.texts = Texts()
        self._sequence = -1
        self._account = Account()
        self._follows_draft = self._asks_model = False
        self._without_draft = 0

    def draft(
        self, sequence: int, slot: int, text: Series[int], last: int, limits: Limits, *, certain: Series[int] = ()
    ) -> Draft | None:
        """Return a draft of what follows a text and its last token, if one pays.

        `text` grows from call to call; `sequence` is its number, and `slot` that of its slot in the cache. `certain` are tokens
        of text that must follow.
        """
        if sequence != self._sequence:
            self._sequence, self._account = sequence, Account()
            self._without_draft = 0
        if limits.room < 1:
            return None
        match, tokens = self.texts.guess(sequence, text, last, certain)
        available = min(len(tokens), limits.room, MOST_DRAFT)
        if limits.most is None:
            count = self._worth(match, available)
        elif self.model is not None and not certain:
            count = 0
        else:
            count = min(limits.most, available)
        return Draft(tuple(tokens[:count]), match) if count else self._ask_model(slot, [*text, last], limits)

    def _ask_model(self, slot: int, text: list[int], limits: Limits) -> Draft | None:
        """Return a draft of the draft model, if there is one and it pays."""
        model, self._asks_model = self.model, False
        self._without_draft += 1
        if model is None or (missing := model.missing(slot, text)) is None:
            return None
        available, least = min(limits.room, MOST_DRAFT), limits.p_min
        if limits.most is not None:
            count = min(limits.most, available)
        else:
            count = model.gate.count(self._gate, self._account, available, missing)
            least = max(least, model.gate.least(self._gate))
        if not count:
            return None
        self._asks_model = True
        tokens = model.draft(slot, text, count, least)
        seconds = model.gate.making
        if tokens:
            self._without_draft = 0
            return Draft(tuple(tokens), MODEL, seconds)
        self._account.book(-seconds, seconds)
        model.gate.book(-seconds, seconds)
        return None

    def _worth(self, match: int, available: int) -> int:
        """Return how many drafted tokens pay, and may be lost."""
        single = self._gate.single
        return 0 if single is None else self._gate.size(match, available, self._account.most_loss(single))

    def burst_limit(self, sequence: int, position: int) -> int:
        """Return how many tokens may be generated before the next look for a draft."""
        if self.watches and self._without_draft <= _PATIENCE:
            return 1
        is_near = sequence == self._sequence and (self._asks_model or self._account.is_near_success(position))
        return STEPS_NEAR_SUCCESS if is_near else STEPS

    def checked(self, draft: Draft, accepted: int, position: int, seconds: float) -> None:
        """Record how many tokens of the last draft were accepted, and how long its evaluation took."""
        count, single = len(draft.tokens), self._gate.single
        self._gate.measured_draft(size_of(count), seconds, draft.match, count, accepted)
        self._follows_draft = True
        if accepted:
            self._account.succeeded(position)
        if single is None:
            return
        if draft.match == MODEL:  # what else runs would slow single tokens, too, which are not measured meanwhile
            seconds = min(seconds, self._gate.cost(size_of(count)))
        spent = seconds + draft.seconds
        saved = (accepted + 1) * single - spent
        self._account.book(saved, spent)
        if self.model is not None and draft.match == MODEL:
            self.model.gate.book(saved, spent)

    def generated(self, count: int, seconds: float) -> None:
        """Record how long the evaluation of single tokens took. What the first one after a draft costs is the draft's."""
        single = self._gate.single
        if self.model is not None:
            self.model.gate.passed(seconds)
        if self._follows_draft and single is not None:
            self._account.book(min(0.0, count * single - seconds), seconds)
        else:
            self._account.book(0.0, seconds)
            self._gate.measured_single(seconds / count)
        self._follows_draft = False

    @property
    def watches(self) -> bool:
        """True if the drafts depend on seeing what is evaluated."""
        return self.model is not None and self.model.watches

    def follow(self, sequence: Sequence, tokens: list[int], position: int, output: int) -> None:
        """Show the model's heads what was just evaluated of a sequence; `output` is the first token's index in its batch.

        Heads that are given up for an answer do not see the rest of it: they would read it in vain.
        """
        is_given_up = sequence.id == self._sequence and self._without_draft > _PATIENCE
        if self.model is not None and self.watches and sequence.request.params.draft != 0 and not is_given_up:
            self.model.follow(sequence.slot, tokens, position, output)
