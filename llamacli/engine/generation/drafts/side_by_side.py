"""Drafts of answers that run side by side: all of them get one, of the same length, or none does.

llama.cpp evaluates sequences with different numbers of tokens one after the other, so that those without a draft would wait for
the others; equal numbers share an evaluation. A draft is made if all answers together are expected to gain by it; those of
which less is known are filled up, and wait a little longer for their next token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llamacli.engine.generation.batches.burst import STEPS
from llamacli.engine.generation.drafts.drafter import Draft
from llamacli.engine.generation.drafts.gate import CERTAIN, NEAR, STEPS_NEAR_SUCCESS, Account, Gate, Guess, size_of
from llamacli.engine.generation.drafts.texts import Texts
from llamacli.engine.params import MOST_DRAFT


@dataclass(frozen=True, slots=True)
class Running:
    """An answer that runs: the number of its sequence, its text and last token. `certain` returns tokens that must follow."""

    sequence: int
    text: Sequence[int]
    last: int
    certain: Callable[[], Sequence[int]] = tuple


class _Group:
    """What is known of so many answers side by side."""

    def __init__(self) -> None:
        self.gate, self.account = Gate(), Account()
        self.members: frozenset[int] = frozenset()
        self.follows_draft = False


class SideBySide:
    """The drafts of the answers of a scheduler that run side by side."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self._groups: dict[int, _Group] = {}
        self._near = self._pause = 0

    def draft(self, running: Sequence[Running], room: int) -> list[Draft]:
        """Return a draft of at most `room` tokens for each answer, all of the same length; none if it does not pay."""
        group = self._group(len(running), frozenset(one.sequence for one in running))
        if (single := group.gate.single) is None:
            return []
        found = [self._texts.guess(one.sequence, one.text, one.last, one.certain()) for one in running]
        guesses = [Guess(match, len(tokens)) for match, tokens in found]
        count = group.gate.length(guesses, min(room, MOST_DRAFT), group.account.most_loss(single))
        if not count:
            self._pause = NEAR if any(match == CERTAIN for match, _ in found) else self._pause
            return []
        made = [(match, tuple(tokens[:count])) for match, tokens in found]
        return [Draft(tokens, match, padding=count - len(tokens)) for match, tokens in made]

    def checked(self, drafts: Sequence[Draft], accepted: Sequence[int], seconds: float) -> None:
        """Record how many tokens of each of the last drafts were accepted, and how long their evaluation took."""
        group = self._group(len(drafts))
        group.gate.measured_cost(size_of(drafts[0].size - 1), seconds)
        for draft, taken in zip(drafts, accepted, strict=True):
            if draft.tokens:
                group.gate.measured_share(draft.match, len(draft.tokens), taken)
        group.follows_draft = True
        self._near = NEAR if any(accepted) else self._near
        if group.gate.single is not None:
            group.account.book((1 + sum(accepted) / len(drafts)) * group.gate.single - seconds, seconds)

    def generated(self, running: int, count: int, seconds: float) -> None:
        """Record how long `count` evaluations of a token of each answer took. The first after drafts is on their account."""
        group = self._group(running)
        self._near, self._pause = max(0, self._near - count), max(0, self._pause - count)
        if group.follows_draft and group.gate.single is not None:
            group.account.book(min(0.0, count * group.gate.single - seconds), seconds)
        else:
            group.account.book(0.0, seconds)
            group.gate.measured_single(seconds / count)
        group.follows_draft = False

    @property
    def stops_bursts(self) -> bool:
        """True if a draft of certain text may pay: it did not fail to do so a few tokens before."""
        return not self._pause

    @property
    def burst_limit(self) -> int:
        """The number of tokens that may be generated before the next look for drafts."""
        return STEPS_NEAR_SUCCESS if self._near else STEPS

    def _group(self, size: int, members: frozenset[int] | None = None) -> _Group:
        group = self._groups.setdefault(size, _Group())
        if members is not None and members != group.members:
            group.members = members
            group.account.settle()
        return group
