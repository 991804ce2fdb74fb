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

from llamacli.engine.events import Event, Failed, Finished, Token
from llamacli.engine.generation.batches.burst import Burst, Choice
from llamacli.engine.generation.batches.pace import PromptPace
from llamacli.engine.generation.batches.planner import InvariantPlanner, MixedPlanner, Planned, Planner, batch_of
from llamacli.engine.generation.drafts.drafter import Draft, Drafter, Limits
from llamacli.engine.generation.prompts.media import MediaPrompts
from llamacli.engine.generation.prompts.staged import StagedPrompts
from llamacli.engine.generation.request import Request, check_length
from llamacli.engine.generation.sequence import Sequence
from llamacli.engine.generation.slots import Slots
from llamacli.engine.params import MOST_DRAFT
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
        self._drafter = Drafter(drafts)
        self._can_draft = context.can_drop_last(MOST_DRAFT)
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
            elif (draft := self._draft(plan)) is not None:
                events += self._check(plan[0][0], draft)
            elif (steps := self._burst_steps(plan)) > 1 or (steps == 1 and self._drafter.watches):
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
        if len(plan) == 1:
            steps = min(steps, self._drafter.burst_limit(plan[0][0].id, len(plan[0][0].cached)))
        return steps

    def _burst(self, plan: list[Planned], steps: int) -> list[Event]:
        """Evaluate a plan several times."""
        stops = self._may_draft(plan[0][0])  # of one that generates alone: there is no other in the plan
        started = time.perf_counter()
        done, cancelled = self._bursts.run([sequence.lane(stops=stops) for sequence, _ in plan], steps)
        if len(plan) == 1 and done:
            self._drafter.generated(len(done), time.perf_counter() - started)
        if len(done) == 1:
            self._follow(plan)
        return self._finish_burst(plan, done, cancelled)

    def _follow(self, plan: list[Planned]) -> None:
        """Show what was evaluated to whoever drafts from it."""
        first = 0
        for sequence, count in plan if self._drafter.watches else ():
            self._drafter.follow(sequence, sequence.pending[:count], sequence.position, first)
            first += count

    def _draft(self, plan: list[Planned]) -> Draft | None:
        """Return a draft for a sequence that generates alone, if there is one."""
        sequence = plan[0][0]
        if not self._may_draft(sequence):
            return None
        room = min(sequence.draft_room, self._context.n_outputs - 1)
        if room < 1:
            return None
        params, certain = sequence.request.params, sequence.certain_tokens()
        limits = Limits(params.draft, room, params.draft_p_min)
        return self._drafter.draft(sequence.id, sequence.slot, sequence.cached, sequence.pending[0], limits, certain=certain)

    def _may_draft(self, sequence: Sequence) -> bool:
        """Return whether a sequence generates alone and wants drafts, unasked only where they leave its answer the same."""
        most = sequence.request.params.draft
        is_asked_for = most is not None or self._drafter.model is not None
        return self.active == 1 and most != 0 and self._can_draft and (is_asked_for or self.slots.is_exact)

    def _check(self, sequence: Sequence, draft: Draft) -> list[Event]:
        """Evaluate the pending token of a sequence with a draft, and keep what would have been chosen without."""
        started = time.perf_counter()
        tokens = [*sequence.pending, *draft.tokens]
        start, accepted = sequence.position, 0
        positions = list(range(start, start + len(tokens)))
        self._context.decode(tokens, positions, [sequence.slot] * len(tokens), [1] * len(tokens), counts=False)

        def advance() -> list[Event]:
            nonlocal accepted
            events, accepted = sequence.checked(draft.tokens)
            self.slots.forget_rest(sequence)
            self._drafter.follow(sequence, tokens[: accepted + 1], start, 0)
            return events

        events = self._advance(sequence, advance)
        if not sequence.finished:
            self._drafter.checked(draft, accepted, len(sequence.cached), time.perf_counter() - started)
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
                events.append(sequence.finish("context"))
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
            self._drafter.ended(sequence.cached[len(sequence.request.prompt) :])
        return events

    def cancel(self, sequence: Sequence) -> Finished | None:
        """End one sequence; its evaluated tokens stay in its slot for reuse. Return None if it had ended already."""
        if sequence.finished:
            return None
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        self.slots.free(sequence)
        return sequence.finish("cancelled")

    def _cancel_all(self) -> list[Event]:
        """End all sequences after a cancelled evaluation: what it left in the cache is unknown, so it is cut off."""
        events: list[Event] = []
        for slot, sequence in self.slots.active():
            events.append(sequence.finish("cancelled"))
            slot.sequence = None
            self.slots.trim(slot.index)
        while self._waiting:
            events.append(self._waiting.popleft().finish("cancelled"))
        return events

    def reset(self) -> None:
        """Drop all sequences and empty the cache."""
        for _, sequence in self.slots.active():
            sequence.close()
        for sequence in self._waiting:
            sequence.close()
        self._waiting.clear()
        self.slots.clear()


def _raise(error: Exception) -> list[Event]:
    raise error
