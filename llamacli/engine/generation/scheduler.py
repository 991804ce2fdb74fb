"""Scheduler of sequences: each step evaluates one batch for all of them, samples in C, and returns events.

Continuous batching: the slot of a sequence that ends is assigned at once, and prompts are prefilled in chunks beside
generating sequences (Yu et al., "Orca", OSDI 2022; Agrawal et al., "Sarathi-Serve", OSDI 2024).
"""

from __future__ import annotations

import itertools
import operator
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from llamacli.engine.events import Event, Failed, Finished, FinishReason, Token
from llamacli.engine.generation.batches.burst import Burst, Choice
from llamacli.engine.generation.batches.pace import PromptPace
from llamacli.engine.generation.batches.planner import InvariantPlanner, MixedPlanner, Planned, Planner, batch_of
from llamacli.engine.generation.drafts.drafter import Draft
from llamacli.engine.generation.drafts.proposals import Proposals
from llamacli.engine.generation.prompts.media import MediaPrompts
from llamacli.engine.generation.prompts.staged import StagedPrompts
from llamacli.engine.generation.request import Request, check_length
from llamacli.engine.generation.sequence import Sequence
from llamacli.engine.generation.slots import Slots
from llamacli.engine.runtime.context import Context
from llamacli.errors import CancelledError, LlamacliError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.generation.drafts.source import DraftSource
    from llamacli.engine.media.encoder import Chunk, MediaEncoder


class Scheduler:
    """Runner of requests on a context, up to its number of sequences at once. Not thread-safe: one thread steps.

    `staged` are evaluated prompts from outside. `encoder` is needed for requests with pictures or sounds. `drafts` are those of
    a draft model or of the model's own heads.
    """

    def __init__(
        self,
        context: Context,
        staged: StagedPrompts | None = None,
        encoder: MediaEncoder | None = None,
        drafts: DraftSource | None = None,
    ) -> None:
        self._context = context
        self._media = MediaPrompts(context, encoder)
        self.slots = Slots(context, staged)
        self._bursts = Burst(context)
        self._proposals = Proposals(context, drafts, is_exact=self.slots.is_exact)
        n_batch, n_ubatch = context.n_batch, min(context.n_batch, context.params.n_ubatch)
        pace = self._pace = PromptPace(context.params.prompt_seconds, n_ubatch)
        self._planner: Planner = (
            InvariantPlanner(n_batch, n_ubatch, pace) if context.is_invariant else MixedPlanner(n_batch, pace)
        )
        self._waiting: deque[Sequence] = deque()
        self._ids = itertools.count()
        self._is_scoring_next = True
        self.limit = context.params.n_seq_max
        """The number of sequences that may run at once, at most the number of slots."""
        self.tuner: Callable[[int], None] | None = None
        """Called after each step with the number of tokens that it generated."""

    def submit(self, request: Request) -> Sequence:
        """Queue a request.

        Raises:
            TypeError: if a number of tokens is not a whole number.
            UsageError: if the prompt is empty, a token id is outside the vocabulary, or its pictures are not what it says.
            ContextFullError: if the prompt is longer than the context.
            GrammarError: if llama.cpp does not accept the grammar.
        """
        context = self._context
        if not request.prompt:
            raise UsageError("the prompt is empty, and this model has no BOS token")
        chunks = self._media.chunks(request)
        operator.index(request.params.max_tokens or 0)
        check_length(request, context.n_ctx, context.model.n_ctx_train)
        sequence = Sequence(next(self._ids), request, context, chunks)
        self._waiting.append(sequence)
        return sequence

    @property
    def active(self) -> int:
        """Number of running sequences."""
        return len(self.slots.active())

    @property
    def is_idle(self) -> bool:
        """True if no sequence is running or waiting."""
        return not self._waiting and not self.slots.active()

    def run(self) -> Iterator[Event]:
        """Yield the events of all requests until none is left."""
        while not self.is_idle:
            yield from self.step()

    def step(self) -> list[Event]:
        """Evaluate one batch and return its events.

        Raises:
            DecodeError, MemoryFullError: if the batch failed; all its sequences are dropped.
        """
        if self._waiting:
            self._admit()
        events = self._make_room()
        chunk = self._media.next_chunk(self.slots)
        plan = self._plan() if chunk is None else []
        if not plan and chunk is None:
            return events
        try:
            if chunk is not None:
                events += self._evaluate_chunk(*chunk)
            elif drafts := self._proposals.drafts(self._generating(plan)):
                events += self._check(plan, drafts)
            elif (steps := self._burst_steps(plan)) > 1 or (steps == 1 and self._proposals.watches):
                events += self._burst(plan, steps)
            else:
                tokens, positions, sequences, outputs = batch_of(plan)
                started = time.perf_counter()
                self._context.decode(tokens, positions, sequences, outputs)
                self._pace.measured(len(tokens), time.perf_counter() - started)
                self._follow(plan)
                events += self._finish_batch(plan, outputs)
        except CancelledError:
            events += self._cancel_all()
        except BaseException:
            self.reset()
            raise
        if self.tuner is not None:
            self.tuner(sum(isinstance(event, Token) for event in events))
        return events

    def _burst_steps(self, plan: list[Planned]) -> int:
        """Return how many steps C may make at once: several if all sequences generate."""
        steps = min(sequence.burst_limit for sequence, _ in plan)
        if len(plan) < self.active:
            steps = min(steps, 1)  # prompts wait
        return min(steps, self._proposals.burst_limit([sequence for sequence, _ in plan]))

    def _generating(self, plan: list[Planned]) -> list[Sequence]:
        """The sequences of a plan, if all that run are in it; none if prompts wait."""
        return [sequence for sequence, _ in plan] if len(plan) == self.active else []

    def _burst(self, plan: list[Planned], steps: int) -> list[Event]:
        """Evaluate a plan several times."""
        stops = self._proposals.stops_bursts(self._generating(plan))
        started = time.perf_counter()
        done, cancelled = self._bursts.run([sequence.lane(stops=stops) for sequence, _ in plan], steps)
        if done:
            self._proposals.generated(len(plan), len(done), time.perf_counter() - started)
        if len(done) == 1:
            self._follow(plan)
        return self._finish_burst(plan, done, cancelled)

    def _follow(self, plan: list[Planned]) -> None:
        """Show what was evaluated to whoever drafts from it."""
        first = 0
        for sequence, count in plan if self._proposals.watches else ():
            self._proposals.follow(sequence, sequence.pending[:count], sequence.position, first)
            first += count

    def _check(self, plan: list[Planned], drafts: list[Draft]) -> list[Event]:
        """Evaluate the pending tokens of sequences with drafts of one length, and keep what would have been chosen without."""
        started = time.perf_counter()
        sequences, size = [sequence for sequence, _ in plan], drafts[0].size
        tokens: list[int] = []
        for one, draft in zip(sequences, drafts, strict=True):
            tokens += [*one.pending, *draft.tokens, *one.pending * draft.padding]
        positions = [one.position + index for one in sequences for index in range(size)]
        slots = [one.slot for one in sequences for _ in range(size)]
        self._context.decode(tokens, positions, slots, [1] * len(tokens), counts=False)
        events: list[Event] = []
        accepted = [0] * len(sequences)

        def advance(number: int) -> list[Event]:
            first = number * size
            found, accepted[number] = sequences[number].checked(drafts[number].tokens, first)
            self.slots.forget_rest(sequences[number])
            self._proposals.follow(sequences[number], tokens[first : first + accepted[number] + 1], positions[first], first)
            return found

        for number, sequence in enumerate(sequences):
            events += self._advance(sequence, partial(advance, number))
        self._proposals.checked(sequences, drafts, accepted, time.perf_counter() - started)
        return events

    def _plan(self) -> list[Planned]:
        """The plan of the next batch: in turns a part of a prompt that is scored, and what the others need."""
        scored = [one for _, one in self.slots.active() if one.scores_prompt and one.is_prefilling]
        plan = self._planner.plan([one for _, one in self.slots.active() if one not in scored])
        if scored and (self._is_scoring_next or not plan):
            self._is_scoring_next = False
            return [(scored[0], scored[0].score_portion)]
        self._is_scoring_next = True
        return plan

    def _evaluate_chunk(self, sequence: Sequence, chunk: Chunk) -> list[Event]:
        """Encode a chunk, unless that was done before, and evaluate it. What is wrong with it ends its sequence only."""
        try:
            output = self._media.evaluate(sequence, chunk)
        except CancelledError:
            raise
        except LlamacliError as error:
            return self._advance(sequence, partial(_raise, error))
        return self._advance(sequence, partial(sequence.evaluated_chunk, chunk, output))

    def _finish_batch(self, plan: list[Planned], outputs: list[int]) -> list[Event]:
        """Sample for the sequences whose pending tokens are all evaluated."""
        events: list[Event] = []
        end = 0
        for sequence, count in plan:
            end += count
            output = end - 1 if outputs[end - 1] else None
            if sequence.scores_prompt and sequence.is_prefilling:
                sequence.score(end - count, count)
            events += self._advance(sequence, partial(sequence.evaluated, count, output))
            self.slots.passed(sequence)
        return events

    def _finish_burst(self, plan: list[Planned], done: list[list[Choice]], cancelled: bool) -> list[Event]:
        """Advance by what C chose. Tokens after the end of a sequence are cut off the cache."""
        events: list[Event] = []
        for choices in done:
            for (sequence, _), choice in zip(plan, choices, strict=True):
                if not sequence.finished:
                    events += self._advance(sequence, partial(sequence.chosen, choice))
        if cancelled:
            return events + self._cancel_all()
        for sequence, _ in plan:
            if sequence.finished:
                self.slots.trim(sequence.slot)
        return events

    def _admit(self) -> None:
        """Assign free slots to waiting sequences."""
        for sequence in list(self._waiting):
            if self.active >= self.limit:
                return
            if not self.slots.prefix_in_flight(sequence.request.prompt):
                self._waiting.remove(sequence)
                self.slots.assign(sequence, self._waiting)

    def _make_room(self) -> list[Event]:
        """Shift, or end, the sequences whose context is full."""
        events: list[Event] = []
        for slot, sequence in self.slots.active():
            if len(sequence.cached) + 1 > self._context.n_ctx and not self.slots.shift(sequence):
                slot.sequence = None
                events.append(self._end(sequence, "context"))
        return events

    def _advance(self, sequence: Sequence, go_on: Callable[[], list[Event]]) -> list[Event]:
        """Advance one sequence. An error, of a callback of its request for example, ends this sequence only."""
        try:
            events = go_on()
        except Exception as error:  # noqa: BLE001 - its caller gets it
            sequence.close()
            events = [Failed(sequence.id, error)]
        if sequence.finished:
            self.slots.free(sequence)
            self._proposals.ended(sequence.id, sequence.cached[len(sequence.request.prompt) :])
        return events

    def cancel(self, sequence: Sequence) -> Finished | None:
        """End one sequence; its evaluated tokens stay in its slot for reuse. Return None if it had ended already."""
        if sequence.finished:
            return None
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        self.slots.free(sequence)
        return self._end(sequence, "cancelled")

    def _cancel_all(self) -> list[Event]:
        """End all sequences after a cancelled evaluation: what it left in the cache is unknown, so it is cut off."""
        events: list[Event] = []
        for slot, sequence in self.slots.active():
            events.append(self._end(sequence, "cancelled"))
            slot.sequence = None
            self.slots.trim(slot.index)
        while self._waiting:
            events.append(self._end(self._waiting.popleft(), "cancelled"))
        return events

    def _end(self, sequence: Sequence, reason: FinishReason) -> Finished:
        """End a sequence before its answer is whole: no other is drafted from it."""
        self._proposals.forget(sequence.id)
        return sequence.finish(reason)

    def reset(self) -> None:
        """Drop all sequences and empty the cache."""
        for _, sequence in self.slots.active():
            self._proposals.forget(sequence.id)
            sequence.close()
        for sequence in self._waiting:
            sequence.close()
        self._waiting.clear()
        self.slots.clear()


def _raise(error: Exception) -> list[Event]:
    raise error
