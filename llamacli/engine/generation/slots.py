"""Slots of sequences in the cache: the tokens of each, and what of them the next prompt can reuse."""

from __future__ import annotations

import logging
from collections.abc import Sequence as Series
from dataclasses import dataclass, field

from llamacli.engine.generation.prompts.checkpoints import LEAST_PROMPT, TAIL, Checkpoint, Checkpoints
from llamacli.engine.generation.prompts.prefix_cache import WORTHWHILE, Prefix, PrefixStore, common_length
from llamacli.engine.generation.prompts.staged import StagedPrompts
from llamacli.engine.generation.sequence import Sequence
from llamacli.engine.media.placeholders import is_placeholder, position_after, whole_chunks
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.exactness import is_exact
from llamacli.engine.runtime.prompt_identity import PromptIdentity
from llamacli.engine.runtime.state_layout import for_streams
from llamacli.errors import StateError

logger = logging.getLogger("llamacli.engine")

WORTH_WAITING = 64
"""Least tokens of a prompt that a running sequence is about to evaluate for the prompt to wait."""

WORTH_MOVING = 32
"""Least tokens behind a gap that are worth moving up."""


@dataclass(slots=True)
class Slot:
    """A slot of the cache: its tokens, and the sequence that runs in it, if any.

    The first `read` tokens were evaluated as a prompt; the rest was generated or restored. `is_plain`: each token was computed
    from those before it, without a gap or a shift, and in the batches of a prompt that is evaluated alone from its beginning.
    """

    index: int
    tokens: list[int] = field(default_factory=list)
    sequence: Sequence | None = None
    read: int = 0
    is_plain: bool = True


class Slots:
    """The slots of a context, one for each of its sequences. `staged` are prompts from outside that a slot may start with."""

    def __init__(self, context: Context, staged: StagedPrompts | None = None) -> None:
        self._context = context
        self._staged = staged or StagedPrompts()
        self.is_exact = is_exact(context.model, context.params)
        """True if a token gets the same bits in every batch."""
        divides = self.is_exact or (context.is_invariant and not context.model.is_recurrent)
        self._unit = 1 if divides else context.params.n_ubatch
        self.checkpoints = Checkpoints(context)
        self._slots = [Slot(index) for index in range(context.params.n_seq_max)]
        self.prefixes: PrefixStore | None = None
        """The cache of evaluated tokens whose slot was assigned to another prompt, or None."""

    def active(self) -> list[tuple[Slot, Sequence]]:
        """Return the slots in which a sequence runs."""
        return [(slot, slot.sequence) for slot in self._slots if slot.sequence is not None]

    def assign(self, sequence: Sequence, others: Series[Sequence] = ()) -> None:
        """Assign a free slot to a sequence: the one that holds most of its prompt. `others` wait for a slot after it."""
        prompt = sequence.request.prompt
        reuses = sequence.request.params.cache_prompt and not sequence.scores_prompt
        shared = {slot.index: self._usable(slot, prompt) if reuses else 0 for slot in self._slots}
        free = [slot for slot in self._slots if slot.sequence is None]
        slot = max(free, key=lambda slot: (shared[slot.index], -len(slot.tokens)))
        best = max(self._slots, key=lambda slot: shared[slot.index])
        self._remember(slot, shared[slot.index])
        if shared[best.index] > shared[slot.index]:
            self._context.copy(best.index, slot.index)
            slot.tokens, slot.read, slot.is_plain = list(best.tokens), best.read, best.is_plain
            self.checkpoints.put(slot.index, self.checkpoints.of(best.index))
        restored = self._recall(slot, prompt) if reuses else 0
        if sequence.request.closes_gap:
            self._close_gap(slot, prompt)
        kept = self._cut(slot, self._reusable(slot, prompt) if reuses else 0)
        sequence.stops = self._stops(sequence, others) if reuses else ()
        is_at_part = kept % self._unit == 0 or kept in sequence.stops
        slot.is_plain = (kept == 0 or (slot.is_plain and is_at_part)) and not (self._unit > 1 and sequence.request.media)
        slot.sequence, slot.read = sequence, len(prompt)
        sequence.start(slot.index, list(prompt[:kept]), min(kept, restored))
        slot.tokens = sequence.cached

    def prefix_in_flight(self, prompt: tuple[int, ...]) -> bool:
        """Return whether a running sequence is about to evaluate much of the prompt that no slot holds yet: worth a wait."""
        coming = max((self._coming(sequence, prompt) for _, sequence in self.active() if sequence.is_prefilling), default=0)
        return coming >= WORTH_WAITING and coming - max(self._held(slot, prompt) for slot in self._slots) >= WORTH_WAITING

    def _coming(self, sequence: Sequence, prompt: tuple[int, ...]) -> int:
        """The tokens of a prompt that will be there to go on from when a running sequence has read its own."""
        shared = common_length(sequence.request.prompt, prompt)
        return shared if self._context.is_cuttable else max((stop for stop in sequence.stops if stop <= shared), default=0)

    def _held(self, slot: Slot, prompt: tuple[int, ...]) -> int:
        """The tokens of a prompt that a slot spares, without regard to how they were evaluated."""
        return self._from_here(slot, common_length(slot.tokens, prompt))

    def _stops(self, sequence: Sequence, others: Series[Sequence]) -> tuple[int, ...]:
        """Where the evaluation of a prompt stops for a checkpoint: near its end, and where a waiting one goes on otherwise."""
        prompt = sequence.request.prompt
        if not self.checkpoints.are_needed or len(prompt) < LEAST_PROMPT or sequence.request.media:
            return ()
        end = len(prompt) - TAIL
        places = {common_length(prompt, other.request.prompt) for other in others} if self._unit == 1 else set()
        return (*sorted(place for place in places if WORTH_WAITING <= place <= end - TAIL), end)

    def passed(self, sequence: Sequence) -> None:
        """Make a checkpoint of a sequence that has evaluated a part of its prompt, if one is due there."""
        if not sequence.is_prefilling or not self.checkpoints.are_needed or sequence.request.media:
            return
        length = len(sequence.cached)
        if length in sequence.stops or (length % self._unit == 0 and self.checkpoints.is_due(sequence.slot, length)):
            self.checkpoints.make(sequence.slot, length)

    def trim(self, index: int) -> None:
        """Cut off what the cache holds beyond the known tokens of a slot."""
        slot = self._slots[index]
        self._cut(slot, len(slot.tokens))

    def forget_rest(self, sequence: Sequence) -> None:
        """Cut off what the cache holds beyond the tokens of a running sequence."""
        self._context.forget(sequence.slot, sequence.position)

    def free(self, sequence: Sequence) -> None:
        """Free the slot of a sequence; the tokens stay for reuse."""
        for slot in self._slots:
            if slot.sequence is sequence:
                slot.sequence = None
                if self.prefixes is not None and self.prefixes.keeps_answers and slot.tokens:
                    self._cut(slot, len(slot.tokens))
                    self._put(self.prefixes, slot)

    def shift(self, sequence: Sequence) -> bool:
        """Drop the older half of the tokens after the kept ones. Return whether the request and the memory allow it.

        Pictures and sounds are kept, with what is before them.
        """
        params, context = sequence.request.params, self._context
        if not params.context_shift or not context.can_shift or position_after(sequence.cached) != len(sequence.cached):
            return False
        keep = len(sequence.request.prompt) - sequence.request.started if params.keep < 0 else params.keep
        if sequence.request.prompt[0] == context.model.vocabulary.bos:
            keep = max(keep, 1)  # models fail without the token that every training text started with
        media = max((place + 1 for place, token in enumerate(sequence.cached) if is_placeholder(token)), default=0)
        keep = min(max(keep, media), context.n_ctx - 2)
        if keep < media:
            return False
        gone = (len(sequence.cached) - keep + 1) // 2
        if not context.forget(sequence.slot, keep, keep + gone):
            return False
        self.checkpoints.cut(sequence.slot, keep)
        context.shift(sequence.slot, keep + gone, -1, -gone)
        del sequence.cached[keep : keep + gone]
        sequence.position -= gone
        slot = self._slots[sequence.slot]
        slot.read, slot.is_plain = min(slot.read, keep), False
        return True

    def clear(self) -> None:
        """Empty the cache and free all slots."""
        self._slots = [Slot(slot.index) for slot in self._slots]
        self.checkpoints.clear()
        self._context.clear()

    def tokens_of(self, slot: int = 0) -> list[int]:
        """Return the tokens of a slot."""
        return list(self._slots[slot].tokens)

    def adopt(self, slot: int, tokens: list[int]) -> None:
        """Record the tokens of a state that was restored into a free slot."""
        self._slots[slot].tokens, self._slots[slot].read, self._slots[slot].is_plain = list(tokens), 0, False
        self.checkpoints.put(slot, ())

    def held(self, prompt: tuple[int, ...]) -> int:
        """Return how many tokens of a prompt a slot, or what is kept beside them, has already."""
        prefix = self.prefixes.find(prompt) if self.prefixes is not None else None
        return max(prefix.usable(prompt) if prefix is not None else 0, *(self._held(slot, prompt) for slot in self._slots))

    def evaluated(self, prompt: tuple[int, ...], identity: PromptIdentity) -> tuple[int, tuple[int, ...], list[Checkpoint]]:
        """Return the slot that has most of a prompt, and those of its tokens that may be kept under this identity.

        Also its checkpoints among them; the tokens end at the last one, unless the whole state may be kept.
        """
        slot = max(self._slots, key=lambda slot: common_length(slot.tokens, prompt) if slot.is_plain else -1)
        count = len(slot.tokens) if identity.keeps_answers else min(slot.read, len(slot.tokens))
        if identity.form != "rows":
            return self._evaluated_states(slot, count, identity)
        if identity.unit > 1:  # the last part of a prompt is shorter, and another prompt goes on there
            count = max(0, count - 2) // identity.unit * identity.unit
        return slot.index, tuple(slot.tokens[:count]) if slot.is_plain else (), []

    def _evaluated_states(
        self, slot: Slot, count: int, identity: PromptIdentity
    ) -> tuple[int, tuple[int, ...], list[Checkpoint]]:
        """Return what `evaluated` does for a state that cannot be cut, with at most `count` tokens."""
        if not slot.is_plain:
            return slot.index, (), []
        end = slot.read - TAIL
        known = [one for one in self.checkpoints.of(slot.index) if one.length <= count]
        known = [one for one in known if one.length % identity.unit == 0 or one.length == end]
        if not identity.keeps_answers:
            count = known[-1].length if known else 0
        return slot.index, tuple(slot.tokens[:count]), known

    def _usable(self, slot: Slot, prompt: tuple[int, ...]) -> int:
        """The number of prompt tokens that this slot saves."""
        return self._from_here(slot, self._reusable(slot, prompt))

    def _from_here(self, slot: Slot, length: int) -> int:
        """The number of tokens, at most `length`, from which a slot can go on."""
        if length == len(slot.tokens) or self._context.keeps(slot.index, position_after(slot.tokens[:length])):
            return length
        return self.checkpoints.best(slot.index, length)

    def _reusable(self, slot: Slot, prompt: tuple[int, ...]) -> int:
        """The number of prompt tokens whose numbers in this slot are right. One must be evaluated, for its logits."""
        if self.is_exact or not self._context.is_invariant:
            return whole_chunks(prompt, min(common_length(slot.tokens, prompt), len(prompt) - 1))
        # Generated tokens were evaluated one by one, and a single token must not be left.
        return whole_chunks(prompt, max(0, min(common_length(slot.tokens[: slot.read], prompt), len(prompt) - 2)))

    def _remember(self, slot: Slot, kept: int) -> None:
        """Save the tokens of a slot if many of them are about to be dropped."""
        if self.prefixes is not None and len(slot.tokens) - kept >= WORTHWHILE:
            self._put(self.prefixes, slot)

    def _put(self, prefixes: PrefixStore, slot: Slot) -> None:
        state, cuttable = self._context.save_sequence(slot.index), self._context.is_cuttable
        read = slot.read if slot.is_plain else 0
        prefixes.put(Prefix(tuple(slot.tokens), read, state, cuttable, self.checkpoints.of(slot.index)))

    def _recall(self, slot: Slot, prompt: tuple[int, ...]) -> int:
        """Restore saved tokens if they have much more of the prompt than the slot has; return how many came from outside."""
        least = self._held(slot, prompt) + WORTHWHILE
        if (staged := self._staged.take(prompt, least)) is not None:
            whole = for_streams(staged.state, staged.size, self._context.n_streams, staged.form)
            self._restore(slot, staged.tokens, len(staged.tokens), whole)
            return len(slot.tokens)
        prefix = self.prefixes.find(prompt) if self.prefixes is not None else None
        if prefix is not None and prefix.usable(prompt) >= least:
            self._restore(slot, prefix.tokens, prefix.read, prefix.state, prefix.checkpoints)
        return 0

    def _restore(
        self,
        slot: Slot,
        tokens: tuple[int, ...],
        read: int,
        state: bytes | memoryview,
        checkpoints: tuple[Checkpoint, ...] = (),
    ) -> None:
        """Put a saved state into a slot; leave it empty if llama.cpp rejects it."""
        self._context.forget(slot.index)
        slot.tokens, slot.read, slot.is_plain = [], 0, read > 0
        self.checkpoints.put(slot.index, ())
        try:
            self._context.restore_sequence(slot.index, state)
        except StateError as error:
            logger.debug("a kept prompt is evaluated again: %s", error)
        else:
            slot.tokens, slot.read = list(tokens), read
            self.checkpoints.put(slot.index, checkpoints)
            if self.checkpoints.are_needed and self.checkpoints.is_due(slot.index, len(tokens)):
                self.checkpoints.make(slot.index, len(tokens))

    def _close_gap(self, slot: Slot, prompt: tuple[int, ...]) -> None:
        """Drop a part of a slot that the prompt leaves out, and move the rest up."""
        start = common_length(slot.tokens, prompt)
        rest = list(prompt[start : start + WORTH_MOVING])
        place = _find(slot.tokens, rest, start) if len(rest) == WORTH_MOVING else -1
        has_media = any(map(is_placeholder, slot.tokens[start:]))
        if place > start and not has_media and self._context.can_shift and self._context.forget(slot.index, start, place):
            self._context.shift(slot.index, place, -1, start - place)
            del slot.tokens[start:place]
            slot.read, slot.is_plain = min(slot.read, start), False
            self.checkpoints.cut(slot.index, start)

    def _cut(self, slot: Slot, length: int) -> int:
        """Cut a slot back to `length` tokens, or as far as the memory can; return the remaining number."""
        context, position = self._context, position_after(slot.tokens[:length])
        stays = length == len(slot.tokens) or context.keeps(slot.index, position)
        if length and stays and context.forget(slot.index, position):
            self.checkpoints.cut(slot.index, length)
        else:
            length = self.checkpoints.rewind(slot.index, slot.tokens, length)
        slot.tokens = slot.tokens[:length]
        return length


def _find(tokens: list[int], part: list[int], start: int) -> int:
    """Return the index of `part` in `tokens` from `start` on, or -1."""
    while True:
        try:
            start = tokens.index(part[0], start)
        except ValueError:
            return -1
        if tokens[start : start + len(part)] == part:
            return start
        start += 1
