"""The places of sequences in the cache: what each holds, and what of it the next prompt can use."""

from __future__ import annotations

from dataclasses import dataclass, field

from llamacli.engine.generation.prefix_cache import WORTHWHILE, PrefixCache, common_length
from llamacli.engine.generation.sequence import Sequence
from llamacli.engine.runtime.context import Context

WORTH_WAITING = 64
"""Tokens of a prompt that another sequence must be about to evaluate for its own to wait for them."""

WORTH_MOVING = 32
"""Tokens that the cache must hold behind a gap for them to be moved up."""


@dataclass(slots=True)
class Slot:
    """A place in the cache: the tokens it holds, and the sequence that works on them, if any.

    The first `read` of the tokens were evaluated as a prompt; the rest was generated, or came from elsewhere.
    """

    index: int
    tokens: list[int] = field(default_factory=list)
    sequence: Sequence | None = None
    read: int = 0


class Slots:
    """The slots of a context, as many as it has sequences."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots = [Slot(index) for index in range(context.params.n_seq_max)]
        self.prefixes: PrefixCache | None = None
        """Where evaluated tokens go when their slot is given to another prompt, if anywhere."""

    def active(self) -> list[tuple[Slot, Sequence]]:
        """The slots in which a sequence runs."""
        return [(slot, slot.sequence) for slot in self._slots if slot.sequence is not None]

    def assign(self, sequence: Sequence) -> None:
        """Gives a free slot to a sequence: the one that already holds most of its prompt."""
        prompt = sequence.request.prompt
        shared = {slot.index: self._reusable(slot, prompt) for slot in self._slots}
        free = [slot for slot in self._slots if slot.sequence is None]
        slot = max(free, key=lambda slot: (shared[slot.index], -len(slot.tokens)))
        best = max(self._slots, key=lambda slot: shared[slot.index])
        self._remember(slot, shared[slot.index])
        if shared[best.index] > shared[slot.index] and not self._context.model.is_recurrent:
            self._context.copy(best.index, slot.index)
            slot.tokens, slot.read = list(best.tokens), best.read
        self._recall(slot, prompt)
        if sequence.request.closes_gap:
            self._close_gap(slot, prompt)
        kept = self._cut(slot, self._reusable(slot, prompt))
        slot.sequence, slot.read = sequence, len(prompt)
        sequence.start(slot.index, list(prompt[:kept]))
        slot.tokens = sequence.cached

    def prefix_in_flight(self, prompt: tuple[int, ...]) -> bool:
        """Whether a running sequence is about to evaluate much of the prompt that no slot holds yet: that is worth a wait."""
        held = max(common_length(slot.tokens, prompt) for slot in self._slots)
        coming = [common_length(sequence.request.prompt, prompt) for _, sequence in self.active() if sequence.is_prefilling]
        return max(coming, default=0) - held >= WORTH_WAITING and not self._context.model.is_recurrent

    def trim(self, index: int) -> None:
        """Cuts off what the cache holds beyond the tokens that are known of a slot."""
        slot = self._slots[index]
        self._cut(slot, len(slot.tokens))

    def free(self, sequence: Sequence) -> None:
        """Takes its slot from a sequence; the tokens stay for reuse."""
        for slot in self._slots:
            if slot.sequence is sequence:
                slot.sequence = None

    def shift(self, sequence: Sequence) -> bool:
        """Drops the older half of what comes after the kept tokens, if the request allows it and the memory can."""
        params, context = sequence.request.params, self._context
        if not params.context_shift or not context.can_shift:
            return False
        keep = len(sequence.request.prompt) - sequence.request.started if params.keep < 0 else params.keep
        if sequence.request.prompt[0] == context.model.vocabulary.bos:
            keep = max(keep, 1)  # models write nonsense without the token that every text began with
        keep = min(keep, context.n_ctx - 2)
        gone = (len(sequence.cached) - keep + 1) // 2
        if not context.forget(sequence.slot, keep, keep + gone):
            return False
        context.shift(sequence.slot, keep + gone, -1, -gone)
        del sequence.cached[keep : keep + gone]
        slot = self._slots[sequence.slot]
        slot.read = min(slot.read, keep)
        return True

    def clear(self) -> None:
        """Empties the cache, and takes their slots from all sequences."""
        self._slots = [Slot(slot.index) for slot in self._slots]
        self._context.clear()

    def tokens_of(self, slot: int = 0) -> list[int]:
        """The tokens whose positions a slot of the cache holds."""
        return list(self._slots[slot].tokens)

    def adopt(self, slot: int, tokens: list[int]) -> None:
        """Tells that the cache of a free slot holds these tokens now: a state was restored into it."""
        self._slots[slot].tokens, self._slots[slot].read = list(tokens), 0

    def _reusable(self, slot: Slot, prompt: tuple[int, ...]) -> int:
        """How many tokens of a prompt need not be evaluated in this slot. One must be, to get its logits."""
        if not self._context.is_invariant:
            return min(common_length(slot.tokens, prompt), len(prompt) - 1)
        # What was generated was evaluated by single tokens, and a single one must not be left.
        return max(0, min(common_length(slot.tokens[: slot.read], prompt), len(prompt) - 2))

    def _remember(self, slot: Slot, kept: int) -> None:
        """Puts aside what a slot holds if much of it is about to go."""
        if self.prefixes is not None and len(slot.tokens) - kept >= WORTHWHILE:
            self.prefixes.put(slot.tokens, self._context.save_sequence(slot.index))

    def _recall(self, slot: Slot, prompt: tuple[int, ...]) -> None:
        """Brings back what was put aside if it holds much more of the prompt than the slot does."""
        if self.prefixes is None:
            return
        shared, tokens, state = self.prefixes.find(prompt)
        if shared - common_length(slot.tokens, prompt) >= WORTHWHILE:
            self._context.forget(slot.index)
            self._context.restore_sequence(slot.index, state)
            slot.tokens, slot.read = list(tokens), 0

    def _close_gap(self, slot: Slot, prompt: tuple[int, ...]) -> None:
        """Where the prompt leaves out a part of what a slot holds, drops it there and moves the rest up."""
        start = common_length(slot.tokens, prompt)
        rest = list(prompt[start : start + WORTH_MOVING])
        place = _find(slot.tokens, rest, start) if len(rest) == WORTH_MOVING else -1
        if place > start and self._context.can_shift and self._context.forget(slot.index, start, place):
            self._context.shift(slot.index, place, -1, start - place)
            del slot.tokens[start:place]
            slot.read = min(slot.read, start)

    def _cut(self, slot: Slot, length: int) -> int:
        """Cuts a slot's cache back to `length` tokens, or to none where the memory cannot; returns what is left."""
        context = self._context
        if length and length < len(slot.tokens) and not context.keeps(slot.index, length):
            length = 0
        if not context.forget(slot.index, length):
            length = 0
            context.forget(slot.index)
        slot.tokens = slot.tokens[:length]
        return length


def _find(tokens: list[int], part: list[int], start: int) -> int:
    """Where `part` stands in `tokens` at `start` or behind it, or -1."""
    while True:
        try:
            start = tokens.index(part[0], start)
        except ValueError:
            return -1
        if tokens[start : start + len(part)] == part:
            return start
        start += 1
