"""Drafts: guesses from repetitions, weighed by time, which never change an answer."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing, nullcontext

import pytest
from text_answer import answer

from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.constraint.matcher import Matcher
from llamacli.engine.constraint.schema import convert_schema
from llamacli.engine.engine import Engine
from llamacli.engine.generation.drafts.drafter import Drafter, Limits
from llamacli.engine.generation.drafts.gate import Account, Gate, size_of
from llamacli.engine.generation.drafts.repeats import Repeats
from llamacli.engine.params import MOST_DRAFT, ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import UsageError

CONTEXT = ContextParams(n_ctx=512, threads=1)
TEXT = "the weather in the world and the weather in us and the weather in the world "


@pytest.mark.parametrize(
    ("text", "end", "most", "expected"),
    [
        ("", "abc", 4, (0, "")),
        ("abcdef", "abc", 2, (3, "de")),
        ("abcdef", "xbc", 2, (0, "")),
        ("abcdef", "def", 4, (0, "")),  # nothing followed
        ("zabcd yabce", "abc", 1, (3, "e")),  # the latest of equally long ones
        ("zabcd yabce", "zabc", 1, (4, "d")),  # the longest
        ("ababababab", "babab", 3, (5, "aba")),
        ("aaaaaaaa", "aaa", 3, (3, "aaa")),
    ],
)
def test_the_longest_and_latest_match_is_continued(text, end, most, expected):
    repeats = Repeats()
    repeats.extend([ord(letter) for letter in text])
    match, tokens = repeats.guess([ord(letter) for letter in end], most)
    assert (match, "".join(map(chr, tokens))) == expected


def test_adding_in_parts_is_adding_at_once():
    whole, parts = Repeats(), Repeats()
    tokens = [i * i % 7 for i in range(200)]
    whole.extend(tokens)
    for start in range(0, 200, 7):
        parts.extend(tokens[start : start + 7])
    for start in range(0, 190, 3):
        assert whole.guess(tokens[start : start + 10], 5) == parts.guess(tokens[start : start + 10], 5)


def test_nothing_is_drafted_before_a_token_was_measured():
    assert Gate().size(32, 15, 1.0) == 0


def test_a_draft_is_as_long_as_it_pays():
    gate = Gate()
    gate.measured_single(0.010)
    assert gate.size(32, 15, 1.0) > gate.size(8, 15, 1.0) >= gate.size(5, 15, 1.0) > 0
    assert gate.size(3, 15, 1.0) == 0
    for _ in range(20):
        gate.measured_draft(16, 0.012, 3, 15, 15)
        gate.measured_draft(4, 0.040, 6, 3, 3)
    assert gate.size(3, 15, 1.0) == 15  # accepted so far, at a known price
    assert gate.size(3, 9, 1.0) == 9
    for _ in range(20):
        gate.measured_draft(16, 0.012, 20, 15, 0)
        gate.measured_draft(8, 0.012, 20, 7, 0)
    assert gate.size(20, 15, 1.0) == 0


def test_a_draft_that_could_lose_too_much_is_shorter():
    gate = Gate()
    gate.measured_single(0.010)
    lengths = [gate.size(32, 15, loss) for loss in (0.0, 0.005, 0.01, 0.03, 0.1)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[2]) == (0, 3)


def test_what_drafts_may_lose_is_bounded_and_grows_with_what_they_save():
    account = Account()
    assert account.most_loss(0.010) == pytest.approx(0.010)
    account.book(-0.010, 0.010)
    assert account.most_loss(0.010) < 0.001
    account.book(0.0, 2.0)
    assert account.most_loss(0.010) == pytest.approx(0.01, rel=0.1)
    account.book(0.5, 0.1)
    assert account.most_loss(0.010) > 0.5
    assert not account.is_near_success(0)
    account.succeeded(100)
    assert account.is_near_success(131)
    assert not account.is_near_success(132)


def test_useless_drafts_cost_an_answer_little():
    """A text that repeats itself in its beginnings, and never goes on as before."""
    drafter, single, price = Drafter(), 0.010, 0.020
    text = [1, 2, 3]
    lost = 0.0
    drafter.generated(5, 5 * single)
    for step in range(400):
        draft = drafter.draft(0, 0, text[:-1], text[-1], Limits(None, 15))
        if draft is not None:
            drafter.checked(draft, 0, len(text), price)
            lost += price - single
        else:
            drafter.generated(1, single)
        text += [1, 2, 3, 4, 5, 6, 7, 8, 1000 + step][len(text) % 9 :][:1]
    assert lost <= 0.01 * 400 * single + single


@pytest.mark.parametrize(("count", "size"), [(1, 4), (3, 4), (4, 8), (7, 8), (8, 16), (15, 16)])
def test_costs_are_measured_by_few_sizes(count, size):
    assert size_of(count) == size


def test_a_text_that_lost_its_beginning_starts_anew():
    drafter = Drafter()
    text = [1, 2, 3, 4, 5, 6, 1, 2]
    assert drafter.draft(0, 0, text, 3, Limits(4, 10)).tokens == (4, 5, 6, 1)
    assert drafter.draft(0, 0, text[6:], 3, Limits(4, 10)) is None
    drafter.texts.ended(0, [7, 8, 9, 10, 11])
    assert drafter.draft(1, 0, [0, 7, 8], 9, Limits(2, 10)).tokens == (10, 11)  # from an earlier answer
    assert drafter.draft(1, 0, [0, 7, 8], 9, Limits(2, 0)) is None


@pytest.fixture(scope="module")
def engine(quantized_model):
    with Engine(quantized_model, ModelParams(), CONTEXT) as engine:
        yield engine


SAMPLING = {
    "greedy": SamplingParams(temperature=0, ignore_eos=True),
    "seeded": SamplingParams(seed=3, temperature=0.3, ignore_eos=True),
    "hot": SamplingParams(seed=5, temperature=2.0, ignore_eos=True),
    "penalties": SamplingParams(seed=5, temperature=0.5, repeat_penalty=1.1, ignore_eos=True),
    "dry": SamplingParams(temperature=0, dry_multiplier=0.5, ignore_eos=True),
    "mirostat": SamplingParams(seed=9, mirostat=2, ignore_eos=True),
}


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("draft", [1, 4, MOST_DRAFT, None])
def test_the_answer_is_the_one_without_drafts(engine, sampling, draft):
    params = GenerationParams(max_tokens=150, sampling=SAMPLING[sampling], draft=0, logprobs=0)
    expected = answer(engine, TEXT, params)
    found = answer(engine, TEXT, dataclasses.replace(params, draft=draft))
    assert found.content == expected.content
    assert [(one.id, one.logprob) for one in found.tokens] == [(one.id, one.logprob) for one in expected.tokens]
    assert expected.timings.draft_n == 0
    assert found.timings.draft_n_accepted <= found.timings.draft_n
    assert found.timings.predicted_n == expected.timings.predicted_n
    if sampling == "greedy" and draft is not None:  # it repeats itself
        assert found.timings.draft_n_accepted > 20


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": ("the",)}, {"max_tokens": 1}, {"max_tokens": 2}, {"max_tokens": None}, {"logprobs": 3},
        {"max_tokens": 700, "context_shift": True},
    ],
)  # fmt: skip
def test_limits_hold_with_drafts(engine, changes):
    params = dataclasses.replace(GenerationParams(max_tokens=60, sampling=SAMPLING["greedy"], draft=0), **changes)
    expected = answer(engine, TEXT, params)
    found = answer(engine, TEXT, dataclasses.replace(params, draft=MOST_DRAFT))
    assert (found.content, found.finish_reason) == (expected.content, expected.finish_reason)
    assert found.usage.completion_tokens == expected.usage.completion_tokens
    again = answer(engine, TEXT, params)  # the cache holds nothing that was drafted in vain
    assert again.content == expected.content


@pytest.mark.parametrize("how", ["its reader leaves", "it is cancelled", "the context is full", "a step fails"])
def test_the_text_of_an_answer_is_forgotten_however_it_ends(engine, monkeypatch, how):
    params = GenerationParams(max_tokens=None, sampling=SAMPLING["seeded"], draft=4)
    with closing(engine.answer(engine.text_turn(TEXT), params)) as events:
        scheduler = engine.contexts.ready(0, 1).scheduler
        kept = scheduler._proposals._drafter.texts._own
        while not kept:
            next(events)
        if how == "it is cancelled":
            engine.cancel()
        if how == "a step fails":
            monkeypatch.setattr(scheduler, "_plan", lambda: 1 / 0)
        if how != "its reader leaves":
            with pytest.raises(ZeroDivisionError) if how == "a step fails" else nullcontext():
                list(events)
    assert kept == {}


@pytest.mark.parametrize(
    "grammar", ['root ::= ("the weather in " | "the world ")+', "root ::= [a-z ]+", 'root ::= "yes" | "no"']
)
def test_a_grammar_holds_with_drafts(engine, grammar):
    params = GenerationParams(max_tokens=80, sampling=SAMPLING["seeded"], draft=0)
    expected = answer(engine, TEXT, params, Constraint(grammar=grammar))
    found = answer(engine, TEXT, dataclasses.replace(params, draft=MOST_DRAFT), Constraint(grammar=grammar))
    assert (found.content, found.finish_reason) == (expected.content, expected.finish_reason)


CERTAIN = {
    'root ::= "{\\"a long and certain key\\": " [0-9] "}"': (b"", '{"a long and certain key": '),
    'root ::= ("one way" | "one day") " to go"': (b"", "one "),
    'root ::= [a-z]+ " and so on"': (b"x", ""),
    'root ::= "a" [b] [c-d] "d"': (b"", "ab"),
    'root ::= "äöü€😀" "x"?': (b"", "äöü€😀"),
    'root ::= "äöü€😀" [a]': ("ä".encode(), "öü€😀a"),
    'root ::= "done"': (b"done", ""),
    'root ::= "end" | "end of it"': (b"", "end"),
    'root ::= [^a] "bc"': (b"", ""),
    'root ::= "ab" "c"*': (b"", "ab"),
    'root ::= . "bc"': (b"x", "bc"),
}
"""Grammars, with what was accepted of them and what must follow."""


@pytest.mark.parametrize("grammar", CERTAIN)
def test_certain_text(engine, grammar):
    accepted, expected = CERTAIN[grammar]
    with closing(Matcher(engine.model, Constraint(grammar=grammar))) as matcher:
        assert matcher.accept_text(accepted)
        assert matcher.certain_text(128) == matcher.certain_text(128)  # looking changes nothing
        assert matcher.certain_text(128) == expected
        assert matcher.certain_text(3) == expected.encode()[:3].decode("utf-8", "ignore")
        assert not expected or matcher.accept_text(expected.encode())


def test_certain_text_is_drafted_once_it_is_evaluated_faster(engine):
    schema = {"type": "object", "properties": {f"a long name of number {i}": {"const": i} for i in range(4)}}
    schema |= {"required": list(schema["properties"])}
    constraint = Constraint(grammar=convert_schema(schema, compact=True).grammar)
    params = GenerationParams(max_tokens=200, sampling=SAMPLING["greedy"], draft=0)
    expected = answer(engine, TEXT, params, constraint)
    found = answer(engine, TEXT, dataclasses.replace(params, draft=MOST_DRAFT), constraint)
    assert json.loads(found.content) == {f"a long name of number {i}": i for i in range(4)}
    assert found.content == expected.content
    assert found.timings.draft_n > 0
    assert answer(engine, TEXT, dataclasses.replace(params, draft=None), constraint).content == expected.content


def test_without_equal_bits_nothing_is_drafted_unasked(tiny_model):
    with Engine(tiny_model, ModelParams(), CONTEXT) as engine:
        params = GenerationParams(max_tokens=100, sampling=SAMPLING["greedy"])
        assert answer(engine, TEXT, params).timings.draft_n == 0
        assert answer(engine, TEXT, dataclasses.replace(params, draft=4)).timings.draft_n > 0


@pytest.mark.parametrize("draft", [-1, MOST_DRAFT + 1])
def test_a_number_out_of_range_is_refused(draft):
    with pytest.raises(UsageError, match="must be from 0 to 15"):
        GenerationParams(draft=draft)
