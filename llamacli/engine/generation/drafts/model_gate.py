"""Whether a draft of a model pays: its tokens take time to make, too, and so does reading the text before them."""

from __future__ import annotations

from llamacli.engine.generation.drafts.gate import SIZES, Account, Gate, undisturbed

_SHARE_OF_PROMPT = 0.15
"""Time of a token that is read among many, as a share of that of a generated one, before it is measured."""

_WORTH_MEASURING = 16
"""Tokens from which the time of reading is measured."""

_DEBT = 1.0
"""What the first drafts may cost before they have saved anything, in evaluations of one token of the larger model."""

_TRIALS = 1.25
"""What trials may cost before anything is known of a draft model, in the same: one that is right has a second chance."""

_SHARE_OF_TIME = 0.005
"""What trials may cost later, as a share of all time: a draft model that did not pay may do so in another text."""

_MOST_LEAST = 0.9

_PER_PROBABILITY = 0.5
"""A token is accepted more often than its probability says where the larger model takes the most probable one."""


class ModelGate:
    """The prices of a draft model's tokens, and which drafts they are worth. Durations in seconds."""

    def __init__(self, relative_size: float) -> None:
        self._relative_size = relative_size
        self._each: float | None = None
        self._each_read: float | None = None
        self._is_cold = self._reads_cold = True
        self.making = 0.0
        """Seconds that the tokens of the last draft take when nothing else runs."""
        self._passed = 0.0
        self._lost = 0.0
        self._is_trial = False
        self._has_paid = False

    def measured_tokens(self, count: int, seconds: float) -> None:
        """Record how long drafting some tokens took. The first ones are not counted: nothing is in memory yet."""
        if self._is_cold:
            self._is_cold, self.making = False, 0.0
        elif count:
            self._each = undisturbed(self._each, seconds / count)
            self.making = min(seconds, self._each * count)

    def measured_catch_up(self, count: int, seconds: float) -> None:
        """Record how long reading some tokens took. The time of a few, or of the first, is no measure."""
        if self._reads_cold:
            self._reads_cold = not count
        elif count >= _WORTH_MEASURING:
            self._each_read = undisturbed(self._each_read, seconds / count)

    def count(self, gate: Gate, account: Account, available: int, missing: int) -> int:
        """Return how many of `available` tokens to draft, 0 if that does not pay. `missing` are to be read before.

        The text before is read if what that takes could have been saved in half of the time of the answer so far: it will
        probably go on for as long again. Drafts are short until one has paid.
        """
        if gate.single is None:
            return 0
        if not self._has_paid:
            available = min(available, SIZES[0] - 1)
        single, each, reading = gate.single, self._price(gate.single), self._price_of_reading(gate.single, missing)
        debt = _DEBT * single
        best = gate.best(gate.share_of_model, available, account.most_loss(single) + debt, each)
        self._is_trial = False
        if best.count and reading <= account.passed * (1 - 1 / best.gain) / 2 + debt:
            return best.count
        return self._trial(gate, each, reading, available)

    def _trial(self, gate: Gate, each: float, reading: float, available: int) -> int:
        """Return the tokens of a small draft, if one could pay and trials have not cost too much."""
        size = SIZES[0]
        best = gate.best(1.0, available, float("inf"), each)
        single, count = gate.single or 0.0, min(size - 1, available)
        loss = reading + each * count + gate.cost(size) - single
        if not best.count or loss > _TRIALS * single + _SHARE_OF_TIME * self._passed - self._lost:
            return 0
        self._is_trial = True
        return count

    def least(self, gate: Gate) -> float:
        """Return the probability below which a token is not worth what it takes to make and to check."""
        if gate.single is None:
            return 0.0
        first, last = SIZES[0], SIZES[-1]
        check = max(0.0, (gate.cost(last) - gate.cost(first)) / (last - first))
        return min(_MOST_LEAST, _PER_PROBABILITY * (self._price(gate.single) + check) / gate.single)

    def book(self, saved: float, seconds: float) -> None:
        """Record what a draft of this model saved in so many seconds, or lost if negative."""
        self.passed(seconds)
        self._has_paid = self._has_paid or saved > 0
        if self._is_trial:
            self._lost -= saved

    def passed(self, seconds: float) -> None:
        """Record time."""
        self._passed += seconds

    def _price(self, single: float) -> float:
        return single * self._relative_size if self._each is None else self._each

    def _price_of_reading(self, single: float, count: int) -> float:
        if count <= 1:
            return 0.0
        each = self._price(single) * _SHARE_OF_PROMPT if self._each_read is None else self._each_read
        return each * (count - 1)
