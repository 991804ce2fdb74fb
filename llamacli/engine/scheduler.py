"""One scheduler serves everything: each step evaluates one batch for all sequences, samples in C, and tells what happened.

Continuous batching: a sequence that ends leaves its slot to the next request at once, and prompts are prefilled in chunks
beside the
sequences that generate (Yu et al., "Orca", OSDI 2022; Agrawal et al., "Sarathi-Serve", OSDI 2024).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from llamacli.engine.burst import Burst
from llamacli.engine.context import Context
from llamacli.engine.events import Event, Failed, Finished
from llamacli.engine.planning import InvariantPlanner, MixedPlanner, Planned, Planner
from llamacli.engine.prefix_cache import WORTHWHILE, PrefixCache, common_length
from llamacli.engine.sequence import Request, Sequence
from llamacli.errors import CancelledError, ConstraintError, ContextFullError, UsageError

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


class Scheduler:
    """Runs requests on a context, as many at once as it has sequences. Not thread-safe: one thread steps."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots = [Slot(index) for index in range(context.params.n_seq_max)]
        self._bursts = Burst(context)
        n_batch, n_ubatch = context.n_batch, min(context.n_batch, context.params.n_ubatch)
        self._planner: Planner = InvariantPlanner(n_batch, n_ubatch) if context.is_invariant else MixedPlanner(n_batch)
        self._waiting: deque[Sequence] = deque()
        self._ids = itertools.count()
        self.limit = len(self._slots)
        """How many sequences may run at once, at most as many as there are slots."""
        self.prefixes: PrefixCache | None = None
        """Where evaluated tokens go when their slot is given to another prompt, if anywhere."""

    def submit(self, request: Request) -> Sequence:
        """Queues a request.

        Raises:
            UsageError: an empty prompt, or token ids outside the vocabulary.
            ContextFullError: a prompt longer than the context.
            GrammarError: a grammar that llama.cpp does not take.
        """
        context = self._context
        needed = len(request.prompt)
        if not needed:
            raise UsageError("the prompt is empty, and this model has no token to begin with")
        context.model.vocabulary.check_ids(request.prompt)
        if needed > context.n_ctx:
            raise ContextFullError(
                f"the prompt has {needed} tokens, the context holds {context.n_ctx}",
                needed=needed,
                available=context.n_ctx,
                hint=f"use -c {_rounded(needed + 256)} or more"
                if needed <= context.model.n_ctx_train
                else f"shorten the prompt; the model was trained with {context.model.n_ctx_train} tokens",
            )
        sequence = Sequence(next(self._ids), request, context)
        self._waiting.append(sequence)
        return sequence

    @property
    def active(self) -> int:
        """How many sequences are running."""
        return sum(slot.sequence is not None for slot in self._slots)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing left to do."""
        return not self._waiting and not any(slot.sequence for slot in self._slots)

    def run(self) -> Iterator[Event]:
        """The events of all requests until none is left."""
        while not self.is_idle:
            yield from self.step()

    def step(self) -> list[Event]:
        """Evaluates one batch.

        Raises:
            DecodeError, MemoryFullError: the batch failed; all its sequences are gone.
        """
        if self._waiting:
            self._admit()
        events = self._make_room()
        plan = self._planner.plan([sequence for _, sequence in self._active()])
        if not plan:
            return events
        steps = min(sequence.steps_alone for sequence, _ in plan)
        if len(plan) < self.active:
            steps = min(steps, 1)  # prompts wait
        try:
            return events + (self._burst(plan, steps) if steps > 1 else self._single(plan))
        except BaseException:
            self.reset()
            raise

    def _single(self, plan: list[Planned]) -> list[Event]:
        """Evaluates what is planned, and samples where prompts are in."""
        try:
            outputs = self._evaluate(plan)
        except CancelledError:
            return self._cancel_all()
        events: list[Event] = []
        for sequence, count in plan:
            events += self._advance(sequence, partial(sequence.evaluated, count, outputs.get(sequence.slot)))
        return events

    def _burst(self, plan: list[Planned], steps: int) -> list[Event]:
        """Lets C evaluate and sample several times. What a sequence turns out not to have needed is cut off again."""
        done, cancelled = self._bursts.run([sequence.lane() for sequence, _ in plan], steps)
        events: list[Event] = []
        for choices in done:
            for (sequence, _), choice in zip(plan, choices, strict=True):
                if not sequence.finished:
                    events += self._advance(sequence, partial(sequence.chosen, choice))
        if cancelled:
            return events + self._cancel_all()
        for sequence, _ in plan:
            if sequence.finished:
                slot = self._slots[sequence.slot]
                self._cut(slot, len(slot.tokens))
        return events

    def _admit(self) -> None:
        """Gives free slots to waiting sequences, each the one that already holds most of its prompt."""
        for sequence in list(self._waiting):
            if self.active >= self.limit:
                return
            prompt = sequence.request.prompt
            if self._is_under_way(prompt):
                continue
            self._waiting.remove(sequence)
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

    def _reusable(self, slot: Slot, prompt: tuple[int, ...]) -> int:
        """How many tokens of a prompt need not be evaluated in this slot. One must be, to get its logits."""
        if not self._context.is_invariant:
            return min(common_length(slot.tokens, prompt), len(prompt) - 1)
        # What was generated was evaluated by single tokens, and a single one must not be left.
        return max(0, min(common_length(slot.tokens[: slot.read], prompt), len(prompt) - 2))

    def _is_under_way(self, prompt: tuple[int, ...]) -> bool:
        """Whether a running sequence is about to evaluate much of the prompt that no slot holds yet: that is worth a wait."""
        held = max(common_length(slot.tokens, prompt) for slot in self._slots)
        coming = [common_length(sequence.request.prompt, prompt) for _, sequence in self._active() if sequence.is_prefilling]
        return max(coming, default=0) - held >= WORTH_WAITING and not self._context.model.is_recurrent

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

    def _make_room(self) -> list[Event]:
        """Ends, or shifts, the sequences whose context is full."""
        events: list[Event] = []
        for slot, sequence in self._active():
            if len(sequence.cached) + 1 > self._context.n_ctx and not self._shift(sequence):
                slot.sequence = None
                events.append(sequence.finish("context"))
        return events

    def _active(self) -> list[tuple[Slot, Sequence]]:
        return [(slot, slot.sequence) for slot in self._slots if slot.sequence is not None]

    def _shift(self, sequence: Sequence) -> bool:
        """Drops the older half of what comes after the kept tokens, if the request allows it and the memory can."""
        params, context = sequence.request.params, self._context
        if not params.context_shift or not context.can_shift:
            return False
        keep = len(sequence.request.prompt) - sequence.request.begun if params.keep < 0 else params.keep
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

    def _evaluate(self, plan: list[Planned]) -> dict[int, int]:
        """Decodes the planned tokens.

        Returns the index of each slot's logits, for the slots whose pending tokens are all in.
        """
        tokens: list[int] = []
        positions: list[int] = []
        sequences: list[int] = []
        outputs: list[int] = []
        places = {}
        for sequence, count in plan:
            start = len(sequence.cached)
            tokens += sequence.pending[:count]
            positions += range(start, start + count)
            sequences += [sequence.slot] * count
            outputs += [0] * count
            if count == len(sequence.pending):
                outputs[-1] = 1
                places[sequence.slot] = len(tokens) - 1
        self._context.decode(tokens, positions, sequences, outputs)
        return places

    def _advance(self, sequence: Sequence, go_on: Callable[[], list[Event]]) -> list[Event]:
        try:
            events = go_on()
        except ConstraintError as error:
            sequence.close()
            events = [Failed(sequence.id, error)]
        if sequence.finished:
            self._slots[sequence.slot].sequence = None
        return events

    def cancel(self, sequence: Sequence) -> Finished | None:
        """Ends one sequence; what it evaluated stays in its slot for reuse. None if it had ended already."""
        if sequence.finished:
            return None
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        for slot in self._slots:
            if slot.sequence is sequence:
                slot.sequence = None
        return sequence.finish("cancelled")

    def _cancel_all(self) -> list[Event]:
        """Ends all sequences after an evaluation that was cut short: what it left in the cache is unknown, so it goes."""
        events: list[Event] = []
        for slot in self._slots:
            if slot.sequence:
                events.append(slot.sequence.finish("cancelled"))
                slot.sequence = None
                self._cut(slot, len(slot.tokens))
        while self._waiting:
            events.append(self._waiting.popleft().finish("cancelled"))
        return events

    def reset(self) -> None:
        """Drops all sequences and empties the cache."""
        for slot in self._slots:
            if slot.sequence:
                slot.sequence.close()
        for sequence in self._waiting:
            sequence.close()
        self._waiting.clear()
        self._slots = [Slot(index) for index in range(len(self._slots))]
        self._context.clear()

    def tokens_of(self, slot: int = 0) -> list[int]:
        """The tokens whose positions a slot of the cache holds."""
        return list(self._slots[slot].tokens)

    def adopt(self, slot: int, tokens: list[int]) -> None:
        """Tells that the cache of a free slot holds these tokens now: a state was restored into it."""
        self._slots[slot].tokens, self._slots[slot].read = list(tokens), 0


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


def _rounded(tokens: int) -> int:
    return -(-tokens // 256) * 256
