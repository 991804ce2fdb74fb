"""Drafts of answers that run side by side: none waits for the others', and every text is the one without drafts."""

from __future__ import annotations

import pytest

from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.generation.batches.burst import STEPS
from llamacli.engine.generation.drafts.drafter import Draft
from llamacli.engine.generation.drafts.gate import Gate
from llamacli.engine.generation.drafts.side_by_side import Running, SideBySide
from llamacli.engine.generation.drafts.texts import Texts
from llamacli.engine.generation.job import Job
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams

SINGLE = 0.010
REPEATED = [*range(1, 30), *range(1, 12)]
NEW = list(range(100, 140))


def running(sequence: int, text: list[int]) -> Running:
    return Running(sequence, text[:-1], text[-1])


def measured(sequences: int = 2) -> SideBySide:
    """Drafts that know how long a step takes."""
    found = SideBySide(Texts())
    found.draft([running(one, NEW) for one in range(sequences)], 7)
    found.generated(sequences, 10, 10 * SINGLE)
    return found


def test_all_get_a_draft_of_one_length_or_none_does():
    beside = measured()
    drafts = beside.draft([running(0, REPEATED), running(1, [9, *REPEATED])], 7)
    assert [draft.tokens for draft in drafts] == [tuple(range(12, 12 + len(drafts[0].tokens)))] * 2
    assert len(drafts[0].tokens) in (3, 7)
    assert beside.draft([running(2, REPEATED), running(3, NEW)], 7) == []
    assert beside.draft([running(4, NEW), running(5, REPEATED)], 7) == []


def test_certain_text_is_a_draft():
    one = Running(0, NEW[:-1], NEW[-1], lambda: [1, 2, 3, 4])
    assert [draft.tokens for draft in measured().draft([one, running(1, REPEATED)], 3)] == [(1, 2, 3), (12, 13, 14)]


def cheap(sequences: int, cost: float) -> SideBySide:
    """Drafts that know that an evaluation of four tokens of each answer takes so many times as long as a step."""
    found = measured(sequences)
    pair = [running(one, REPEATED) for one in range(sequences)]
    for _ in range(20):
        drafts = found.draft(pair, 3)
        found.checked(drafts, [len(draft.tokens) for draft in drafts], cost * SINGLE)
    return found


CERTAIN_TEXT = Running(7, NEW[:-1], NEW[-1], lambda: [1, 2, 3, 4])


def test_an_answer_of_which_nothing_is_known_is_filled_up_if_all_gain_together():
    drafts = cheap(3, 1.2).draft([CERTAIN_TEXT, running(8, NEW), running(9, REPEATED)], 3)
    assert [(draft.tokens, draft.padding, draft.size) for draft in drafts] == [
        ((1, 2, 3), 0, 4),
        ((), 3, 4),
        ((12, 13, 14), 0, 4),
    ]


@pytest.mark.parametrize(("cost", "others"), [(2.0, [running(8, NEW)]), (1.9, [running(8, NEW), running(9, NEW)])])
def test_an_answer_does_not_wait_for_others_in_vain(cost, others):
    assert cheap(1 + len(others), cost).draft([CERTAIN_TEXT, *others], 3) == []


def test_an_evaluation_takes_no_answer_much_longer():
    beside = cheap(4, 2.1)
    known = [running(number, REPEATED) for number in (7, 8, 9)]
    assert len(beside.draft([*known, running(6, REPEATED)], 3)) == 4
    assert beside.draft([*known, running(6, NEW)], 3) == []


def test_certain_text_ends_bursts_until_a_draft_of_it_did_not_pay():
    beside = cheap(2, 2.05)
    assert beside.stops_bursts
    beside.draft([running(7, NEW), running(8, NEW)], 3)
    assert beside.stops_bursts
    assert beside.draft([CERTAIN_TEXT, running(8, NEW)], 3) == []
    assert not beside.stops_bursts
    beside.generated(2, STEPS, STEPS * SINGLE)
    assert beside.stops_bursts


def test_nothing_is_drafted_before_a_step_was_measured():
    assert SideBySide(Texts()).draft([running(0, REPEATED), running(1, REPEATED)], 7) == []
    assert measured(2).draft([running(one, REPEATED) for one in range(3)], 7) == []  # three take another time


def test_drafts_that_cost_more_than_they_bring_end():
    beside = measured()
    pair = [running(0, REPEATED), running(1, REPEATED)]
    tried = 0
    while (drafts := beside.draft(pair, 7)) and tried < 20:
        beside.checked(drafts, [0, 0], 3 * SINGLE)
        beside.generated(2, 1, SINGLE)
        tried += 1
    assert tried <= 2


def test_what_was_saved_is_not_lost_by_other_answers():
    beside = measured()
    pair = [running(0, REPEATED), running(1, REPEATED)]
    for _ in range(20):
        beside.checked(beside.draft(pair, 7), [3, 3], 1.5 * SINGLE)
    others, lost = [running(2, REPEATED), running(3, REPEATED)], 0.0
    while (drafts := beside.draft(others, 7)) and lost < 1:
        beside.checked(drafts, [0, 0], 3 * SINGLE)
        lost += 2 * SINGLE
    assert lost <= 2 * SINGLE


def test_drafts_are_looked_for_more_often_after_a_success():
    beside = measured()
    assert beside.burst_limit == STEPS
    draft = Draft((12, 13, 14), 11)
    beside.checked([draft, draft], [3, 0], SINGLE)
    assert beside.burst_limit == 2
    beside.generated(2, STEPS, STEPS * SINGLE)
    assert beside.burst_limit == STEPS


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every draft is taken for worthwhile."""
    monkeypatch.setattr(Gate, "size", lambda self, match, available, loss: min(available, 3))
    monkeypatch.setattr(Gate, "length", lambda self, guesses, room, loss: min(room, 3, max(one.count for one in guesses)))


@pytest.mark.parametrize("sampling", [SamplingParams(temperature=0, ignore_eos=True), SamplingParams(seed=4, temperature=0.4)])
@pytest.mark.parametrize("grammar", [None, 'root ::= ("the weather in the world and " | "us ")+'])
@pytest.mark.usefixtures("eager")
def test_texts_are_those_without_drafts(quantized_model, sampling, grammar):
    texts = [f"{i} the weather in us and the weather in the world " * 3 for i in range(5)]
    constraint = Constraint(grammar=grammar) if grammar else None

    def answers(draft: int | None, parallel: int) -> list[Answer]:
        params = GenerationParams(max_tokens=80, sampling=sampling, draft=draft)
        with Engine(quantized_model, ModelParams(), ContextParams(threads=1)) as engine:
            turns = (engine.text_turn(text, constraint) for text in texts)
            jobs = (Job(number=number, turn=turn, params=params) for number, turn in enumerate(turns))
            found = [one for one in engine.answer_many(jobs, parallel=parallel) if isinstance(one, Answer)]
        return sorted(found, key=lambda one: one.index)

    plain, alone, beside = answers(0, 1), answers(None, 1), answers(None, 3)
    assert [one.content for one in plain] == [one.content for one in alone] == [one.content for one in beside]
    assert sum(one.timings.draft_n for one in plain) == 0
    assert sum(one.timings.draft_n_accepted for one in beside) > 0
    assert all(one.timings.draft_n <= one.timings.predicted_n * 3 for one in beside)
    again = answers(2, 2)
    assert [one.content for one in again] == [one.content for one in plain]
