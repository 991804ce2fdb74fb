"""The drafts of the running sequences: for one that runs alone what pays, for several side by side what pays for all."""

from __future__ import annotations

from collections.abc import Sequence as Series
from typing import TYPE_CHECKING

from llamacli.engine.generation.drafts.drafter import Draft, Drafter, Limits
from llamacli.engine.generation.drafts.side_by_side import Running, SideBySide
from llamacli.engine.generation.sequence import Sequence
from llamacli.engine.params import MOST_DRAFT
from llamacli.engine.runtime.context import Context

if TYPE_CHECKING:
    from llamacli.engine.generation.drafts.source import DraftSource


class Proposals:
    """The drafts of a scheduler. `model` makes those that no text suggests.

    `is_exact`: a token has the same bits in every batch.
    """

    def __init__(self, context: Context, model: DraftSource | None, *, is_exact: bool) -> None:
        self._context = context
        self._is_exact = is_exact
        self._can_draft = context.can_drop_last(MOST_DRAFT)
        self._drafter = Drafter(model)
        self._side_by_side = SideBySide(self._drafter.texts)

    def drafts(self, sequences: Series[Sequence]) -> list[Draft]:
        """Return a draft for each of the sequences; none if it does not pay, or while one of them reads its prompt."""
        if len(sequences) > 1:
            return self._drafts_side_by_side(sequences)
        draft = self._draft(sequences[0]) if sequences else None
        return [draft] if draft is not None else []

    def _draft(self, sequence: Sequence) -> Draft | None:
        """Return a draft for a sequence that generates alone, if there is one."""
        if not self._may_draft(sequence):
            return None
        room = min(sequence.draft_room, self._context.n_outputs - 1)
        if room < 1:
            return None
        params, certain = sequence.request.params, sequence.certain_tokens()
        limits = Limits(params.draft, room, params.draft_p_min)
        return self._drafter.draft(sequence.id, sequence.slot, sequence.cached, sequence.pending[0], limits, certain=certain)

    def _may_draft(self, sequence: Sequence) -> bool:
        """Return whether a sequence that is alone wants drafts, unasked only where they leave its answer the same."""
        most = sequence.request.params.draft
        is_asked_for = most is not None or self._drafter.model is not None
        return most != 0 and self._can_draft and (is_asked_for or self._is_exact)

    def _drafts_side_by_side(self, sequences: Series[Sequence]) -> list[Draft]:
        room = self._room_side_by_side(sequences)
        if room < 1:
            return []
        running = [Running(one.id, one.cached, one.pending[0], one.certain_tokens) for one in sequences]
        return self._side_by_side.draft(running, room)

    def _room_side_by_side(self, sequences: Series[Sequence]) -> int:
        """Return how many tokens may be drafted for each of several sequences."""
        if not (sequences and self._is_exact and self._context.is_cuttable):
            return 0
        room: int = min(self._context.n_outputs // len(sequences) - 1, *(sequence.draft_room for sequence in sequences))
        for sequence in sequences:
            most = sequence.request.params.draft
            room = room if most is None else min(room, most)
        return room

    def stops_bursts(self, sequences: Series[Sequence]) -> bool:
        """Return whether generation in C ends where text is certain, which is then drafted if that pays."""
        if len(sequences) == 1:
            return self._may_draft(sequences[0])
        return self._side_by_side.stops_bursts and self._room_side_by_side(sequences) > 0

    def burst_limit(self, sequences: Series[Sequence]) -> int:
        """Return how many tokens may be generated before the next look for drafts."""
        if len(sequences) > 1:
            return self._side_by_side.burst_limit
        return self._drafter.burst_limit(sequences[0].id, len(sequences[0].cached))

    def checked(self, sequences: Series[Sequence], drafts: Series[Draft], accepted: Series[int], seconds: float) -> None:
        """Record how many tokens of the last drafts were accepted, and how long their evaluation took."""
        if len(sequences) > 1:
            self._side_by_side.checked(drafts, accepted, seconds)
        elif not sequences[0].finished:
            self._drafter.checked(drafts[0], accepted[0], len(sequences[0].cached), seconds)

    def generated(self, sequences: int, count: int, seconds: float) -> None:
        """Record how long `count` evaluations of single tokens of so many sequences took."""
        if sequences > 1:
            self._side_by_side.generated(sequences, count, seconds)
        else:
            self._drafter.generated(count, seconds)

    @property
    def watches(self) -> bool:
        """True if the drafts depend on seeing what is evaluated."""
        return self._drafter.watches

    def follow(self, sequence: Sequence, tokens: list[int], position: int, output: int) -> None:
        """Show the model's heads what was just evaluated of a sequence (see `Drafter.follow`)."""
        self._drafter.follow(sequence, tokens, position, output)

    def forget(self, sequence: int) -> None:
        """Forget the text of a sequence, which ended before its answer was whole."""
        self._drafter.texts.forget(sequence)

    def ended(self, sequence: int, answer: Series[int]) -> None:
        """Keep an answer to draft others from."""
        self._drafter.texts.ended(sequence, answer)
