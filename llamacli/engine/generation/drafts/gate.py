"""Whether a draft pays: its cost as measured, and the accepted share of earlier ones with as good a match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llamacli.engine.params import MOST_DRAFT

SIZES = (4, 8, 16)
"""Tokens of an evaluation that checks a draft: few sizes, as llama.cpp only reuses the graph of the size before."""

_MARGIN = 1.2
"""Least expected gain: the graph of one token is built anew after a draft."""

_SHARE_OF_NEW = 0.25
_SHARE_OF_SHORTER, _SHARE_OF_LONGER = 0.5, 0.05
_SLOPE = 0.3
"""Share of a single evaluation that each further token is taken to cost before it is measured."""

CERTAIN = 1 << 10
"""The length of a match that stands for text which a grammar makes certain, however long that is."""

MODEL = 1 << 11
"""The length of a match that stands for what a draft model guesses."""

_GOOD_MATCHES = ((MODEL, 0.85), (CERTAIN, 0.95), (16, 0.95), (8, 0.8), (5, 0.7), (0, 0.3))
"""Lengths of matches, and the share of tokens that is taken to be accepted after them before it is measured."""

_DEBT = 1.0
"""What drafts may cost an answer before they have saved anything, in evaluations of one token."""

_SHARE_OF_TIME = 0.005
"""What they may cost beyond that, as a share of its time."""

NEAR = 32
"""Tokens after a success in which a draft is looked for more often."""

STEPS_NEAR_SUCCESS = 2

_MOST_DELAY = 2.0
"""How many times as long an evaluation with the drafts of others may take for an answer without one."""

_MOST_SIDE_BY_SIDE = 32
"""Tokens of an evaluation of several drafts that are longer than the smallest size."""


@dataclass(frozen=True, slots=True)
class Size:
    """The number of tokens of a draft, 0 for none, and how many times faster they are expected to make the text."""

    count: int
    gain: float


@dataclass(frozen=True, slots=True)
class Guess:
    """The length of a match, and how many tokens follow there."""

    match: int
    count: int


class Gate:
    """The costs of evaluations and the fate of drafts, for one model. Durations in seconds."""

    def __init__(self) -> None:
        self._single: float | None = None
        self._costs: dict[int, float] = {}
        self._accepted = dict(_GOOD_MATCHES)

    def measured_single(self, seconds: float) -> None:
        """Record how long the evaluation of one token took."""
        self._single = undisturbed(self._single, seconds)

    def measured_draft(self, size: int, seconds: float, match: int, drafted: int, accepted: int) -> None:
        """Record how long the evaluation of a draft took, and how many of its tokens were accepted."""
        self.measured_cost(size, seconds)
        self.measured_share(match, drafted, accepted)

    def measured_cost(self, size: int, seconds: float) -> None:
        """Record how long the evaluation of a draft took."""
        self._costs[size] = undisturbed(self._costs.get(size), seconds)

    def measured_share(self, match: int, drafted: int, accepted: int) -> None:
        """Record how many tokens of a draft were accepted."""
        share = 1.0 if accepted == drafted else accepted / (accepted + 1)
        known = self._accepted[_class_of(match)]
        self._accepted[_class_of(match)] = known + _SHARE_OF_NEW * (share - known)

    @property
    def single(self) -> float | None:
        """Seconds of the evaluation of one token, None before the first."""
        return self._single

    def size(self, match: int, available: int, most_loss: float) -> int:
        """Return how many of `available` drafted tokens to evaluate after such a match; 0 if none pays.

        `most_loss` are the seconds that may be lost if none is accepted.
        """
        return self.best(self._accepted[_class_of(match)], available, most_loss).count

    def best(self, share: float, available: int, most_loss: float, each: float = 0.0) -> Size:
        """Return the size of draft with most gain if such a share of its tokens is accepted; none if none pays.

        `each` are the seconds that one of its tokens takes to make.
        """
        best = Size(0, _MARGIN)
        for size in SIZES if self._single is not None else ():
            count = min(size - 1, available)
            expected = 1 + sum(share**i for i in range(1, count + 1))
            cost = self.cost(size) + each * count
            gain = expected * (self._single or 0.0) / cost
            if gain > best.gain and cost - (self._single or 0.0) <= most_loss:
                best = Size(count, gain)
            if count < size - 1:
                break
        return best

    def length(self, guesses: Sequence[Guess], room: int, most_loss: float) -> int:
        """Return the length of drafts with most gain for all answers side by side, at most `room`; 0 if none pays.

        An answer whose guess is shorter waits for the others, but no evaluation takes it more than `_MOST_DELAY` times as long.
        """
        single, longest = self._single or 0.0, min(room, max(guess.count for guess in guesses))
        waits = any(not guess.count for guess in guesses)
        best = Size(0, _MARGIN)
        for size in SIZES if single else ():
            count, cost = min(size - 1, longest), self.cost(size)
            expected = sum(self._expected(guess, count) for guess in guesses) / len(guesses)
            bearable = cost - single <= most_loss and (not waits or cost <= _MOST_DELAY * single)
            if bearable and (gain := expected * single / cost) > best.gain:
                best = Size(count, gain)
            if count < size - 1:
                break
        return best.count

    def _expected(self, guess: Guess, count: int) -> float:
        """Return how many tokens an evaluation of `count` drafted ones is expected to bring."""
        share = self._accepted[_class_of(guess.match)]
        return 1 + sum(share**i for i in range(1, min(count, guess.count) + 1))

    def cost(self, size: int) -> float:
        """Return the seconds of an evaluation of a size of `SIZES`; before it is measured, as a smaller one suggests."""
        if size in self._costs:
            return self._costs[size]
        single = self._single or 0.0
        smaller = max((one for one in self._costs if one < size), default=0)
        each = (self._costs[smaller] - single) / (smaller - 1) if smaller else _SLOPE * single
        return single + max(0.0, each) * (size - 1)

    @property
    def share_of_model(self) -> float:
        """The share of a draft model's tokens that was accepted."""
        return self._accepted[MODEL]


class Account:
    """What the drafts of one answer have saved, in seconds. What they may lose is bounded."""

    def __init__(self) -> None:
        self._saved = 0.0
        self._passed = 0.0
        self._success = -NEAR

    @property
    def passed(self) -> float:
        """The seconds that were booked."""
        return self._passed

    def most_loss(self, single: float) -> float:
        """Return the seconds that the next draft may lose. `single` are those of an evaluation of one token."""
        return self._saved + _DEBT * single + _SHARE_OF_TIME * self._passed

    def book(self, saved: float, seconds: float) -> None:
        """Record what was saved, or lost if negative, in so many seconds."""
        self._saved += saved
        self._passed += seconds

    def settle(self) -> None:
        """Begin with other answers: what was saved before is not theirs to lose."""
        self._saved = min(0.0, self._saved)

    def succeeded(self, position: int) -> None:
        """Record that a draft was accepted."""
        self._success = position

    def is_near_success(self, position: int) -> bool:
        """Return whether a draft was accepted shortly before: another one may be possible after every token."""
        return position < self._success + NEAR


def outputs_for(sequences: int) -> int:
    """Return how many tokens of an evaluation need logits for the drafts of so many sequences: long ones for few of them."""
    return max(sequences + MOST_DRAFT, SIZES[0] * sequences, min(SIZES[1] * sequences, _MOST_SIDE_BY_SIDE))


def size_of(count: int) -> int:
    """Return the size of evaluation that a token and `count` drafted ones are measured as."""
    return next((size for size in SIZES if count < size), SIZES[-1])


def _class_of(match: int) -> int:
    return next(least for least, _ in _GOOD_MATCHES if match >= least)


def undisturbed(known: float | None, new: float) -> float:
    """Return a duration as it is when nothing else runs: it follows shorter ones quickly, and longer ones slowly."""
    if known is None:
        return new
    return known + (_SHARE_OF_SHORTER if new < known else _SHARE_OF_LONGER) * (new - known)
