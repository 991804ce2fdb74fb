"""Draft models: a smaller model guesses tokens, which never change an answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
from text_answer import answer
from tiny_memories import memory_model

from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.fit.search import fit_model
from llamacli.engine.generation.drafts.gate import Account, Gate
from llamacli.engine.generation.drafts.model_gate import ModelGate
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.engine.runtime import cache_size
from llamacli.errors import LlamacliError, MemoryFullError, ModelNotFoundError, UsageError

CONTEXT = ContextParams(n_ctx=512, threads=1)
TEXT = "the weather in the world and the weather in us and "
GREEDY = SamplingParams(temperature=0)
SAMPLINGS = {
    "greedy": SamplingParams(temperature=0, ignore_eos=True),
    "seeded": SamplingParams(seed=3, temperature=0.7, ignore_eos=True),
    "hot": SamplingParams(seed=5, temperature=2.0, ignore_eos=True),
    "penalties": SamplingParams(seed=5, temperature=0.5, repeat_penalty=1.1, ignore_eos=True),
    "mirostat": SamplingParams(seed=9, mirostat=2, ignore_eos=True),
}


@pytest.fixture(scope="module")
def other_model(tmp_path_factory) -> Path:
    """A model of the same vocabulary with other weights."""
    return tiny.tiny_model(tmp_path_factory.mktemp("draft") / "other.gguf", layers=1, seed=7, context=4096)


def opened(target: Path, draft: Path | None, context: ContextParams = CONTEXT) -> Engine:
    return Engine(target, ModelParams(draft_model=str(draft) if draft is not None else None), context)


@pytest.fixture(scope="module")
def alone(quantized_model):
    with opened(quantized_model, None) as engine:
        yield engine


@pytest.fixture(scope="module")
def with_itself(quantized_model):
    with opened(quantized_model, quantized_model) as engine:
        yield engine


@pytest.fixture(scope="module")
def with_other(quantized_model, other_model):
    with opened(quantized_model, other_model) as engine:
        yield engine


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("draft", [1, 5, None])
def test_the_answer_is_the_one_without_a_draft_model(alone, with_other, sampling, draft):
    params = GenerationParams(max_tokens=80, sampling=SAMPLINGS[sampling], draft=0, logprobs=0)
    expected = answer(alone, TEXT, params)
    found = answer(with_other, TEXT, dataclasses.replace(params, draft=draft))
    assert found.content == expected.content
    assert [(one.id, one.logprob) for one in found.tokens] == [(one.id, one.logprob) for one in expected.tokens]
    assert found.timings.predicted_n == expected.timings.predicted_n
    if draft is not None:
        assert found.timings.draft_n > 0
        assert found.timings.draft_n_accepted <= found.timings.draft_n


@pytest.mark.parametrize("draft", [1, 4, 15])
def test_what_a_model_drafts_for_itself_is_accepted(with_itself, alone, draft):
    params = GenerationParams(max_tokens=90, sampling=GREEDY, draft=draft)
    found = answer(with_itself, TEXT, params)
    assert found.timings.draft_n_accepted == found.timings.draft_n > 30
    assert found.content == answer(alone, TEXT, dataclasses.replace(params, draft=0)).content


def test_how_often_tokens_are_reported_does_not_shorten_drafts(quantized_model):
    context = dataclasses.replace(CONTEXT, burst_seconds=0.0)
    params = GenerationParams(max_tokens=60, sampling=SAMPLINGS["greedy"], draft=8)
    with opened(quantized_model, quantized_model, context) as engine:
        timings = answer(engine, TEXT, params).timings
    evaluations = timings.predicted_n - timings.draft_n_accepted
    assert timings.predicted_n / evaluations > 5


def test_a_draft_ends_before_an_improbable_token(with_itself):
    params = GenerationParams(max_tokens=60, sampling=SAMPLINGS["hot"], draft=8)
    many = answer(with_itself, TEXT, params).timings
    few = answer(with_itself, TEXT, dataclasses.replace(params, draft_p_min=0.9)).timings
    assert few.draft_n < many.draft_n


@pytest.mark.parametrize(
    "changes", [{"stop": ("the",)}, {"max_tokens": 1}, {"max_tokens": 2}, {"max_tokens": 700, "context_shift": True}]
)
def test_limits_hold_with_a_draft_model(alone, with_itself, changes):
    params = dataclasses.replace(GenerationParams(max_tokens=60, sampling=GREEDY, draft=0), **changes)
    expected = answer(alone, TEXT, params)
    found = answer(with_itself, TEXT, dataclasses.replace(params, draft=6))
    assert (found.content, found.finish_reason) == (expected.content, expected.finish_reason)
    assert answer(with_itself, TEXT, params).content == expected.content


def test_the_draft_model_follows_a_conversation_that_goes_back(alone, with_itself):
    params = GenerationParams(max_tokens=20, sampling=GREEDY, draft=4)
    texts = [TEXT, TEXT + "in the world", "another text", TEXT]
    for text in texts:
        found = answer(with_itself, text, params)
        assert found.content == answer(alone, text, dataclasses.replace(params, draft=0)).content
        assert found.timings.draft_n_accepted == found.timings.draft_n > 0


def test_a_state_from_a_file_needs_no_state_of_the_draft_model(alone, with_itself, tmp_path):
    params = GenerationParams(max_tokens=20, sampling=GREEDY, draft=0)
    expected = answer(alone, TEXT, params)
    alone.save_state(tmp_path / "state")
    with_itself.load_state(tmp_path / "state")
    found = answer(with_itself, TEXT, dataclasses.replace(params, draft=4))
    assert found.usage.cached_tokens > 0
    assert found.content == expected.content
    assert found.timings.draft_n_accepted == found.timings.draft_n > 0


def test_the_draft_model_s_context_grows_with_the_model_s(quantized_model):
    context = dataclasses.replace(CONTEXT, n_ctx=None)
    params = GenerationParams(max_tokens=30, sampling=GREEDY, draft=4)
    with opened(quantized_model, quantized_model, context) as engine:
        answer(engine, TEXT, params)
        before = engine.n_ctx
        found = answer(engine, TEXT * 20, dataclasses.replace(params, max_tokens=500))
        assert engine.n_ctx > before
        assert found.timings.draft_n_accepted == found.timings.draft_n > 0


def test_answers_side_by_side_are_the_same_beside_a_draft_model(quantized_model, other_model):
    context = dataclasses.replace(CONTEXT, n_seq_max=2, invariant=True)
    params = GenerationParams(max_tokens=40, sampling=SAMPLINGS["seeded"], draft=4)

    def contents(draft: Path | None) -> list[str]:
        with opened(quantized_model, draft, context) as engine:
            events = engine.answer(engine.text_turn(TEXT), params, samples=2)
            answers = [one for one in events if isinstance(one, Answer)]
            return [one.content for one in sorted(answers, key=lambda one: one.index)]

    assert contents(other_model) == contents(None)


def test_a_cancelled_answer_leaves_the_draft_model_usable(alone, with_itself):
    params = GenerationParams(max_tokens=400, sampling=GREEDY, draft=4)
    events = with_itself.answer(with_itself.text_turn(TEXT), params)
    for number, _ in enumerate(events):
        if number == 20:
            with_itself.cancel()
    short = dataclasses.replace(params, max_tokens=30)
    assert answer(with_itself, TEXT, short).content == answer(alone, TEXT, dataclasses.replace(short, draft=0)).content


def test_without_equal_bits_a_draft_model_is_used_all_the_same(tiny_model):
    params = GenerationParams(max_tokens=40, sampling=GREEDY, draft=4)
    with opened(tiny_model, tiny_model) as engine:
        assert answer(engine, TEXT, params).timings.draft_n > 0


VOCABULARY = tiny.default_vocabulary()
REFUSED = {
    "another token": (
        {"vocabulary": dataclasses.replace(VOCABULARY, tokens=(*VOCABULARY.tokens[:9], "other", *VOCABULARY.tokens[10:]))},
        f'token 9 is "other", that of the model "{VOCABULARY.tokens[9]}"',
    ),
    "a head": ({"change": {"general.architecture": "dflash"}}, "holds only the DFlash head of a model"),
    "another tokenizer": ({"change": {"tokenizer.ggml.model": "llama"}}, "its tokenizer is llama, that of the model gpt2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_draft_is_refused_before_anything_is_loaded(quantized_model, tmp_path, case):
    options, message = REFUSED[case]
    draft = tiny.tiny_model(tmp_path / "strange.gguf", **options)
    loaded = []
    with pytest.raises(UsageError) as caught:
        Engine(quantized_model, ModelParams(draft_model=str(draft)), CONTEXT, on_load=loaded.append)
    assert message in caught.value.message
    assert caught.value.parameter == "draft_model"
    assert loaded == []


def test_either_vocabulary_may_have_more_tokens_at_its_end(quantized_model, alone, tmp_path):
    longer = dataclasses.replace(
        VOCABULARY, tokens=(*VOCABULARY.tokens, "<more>"), types=(*VOCABULARY.types, tiny.USER_DEFINED)
    )
    draft = tiny.tiny_model(tmp_path / "longer.gguf", vocabulary=longer, context=4096)
    params = GenerationParams(max_tokens=30, sampling=GREEDY, draft=4)
    expected = answer(alone, TEXT, dataclasses.replace(params, draft=0)).content
    with opened(quantized_model, draft) as engine:
        assert answer(engine, TEXT, params).content == expected


@pytest.mark.parametrize(("name", "content"), [("missing.gguf", None), ("broken.gguf", b"GGUF"), ("empty.gguf", b"")])
def test_a_draft_model_that_cannot_be_read(quantized_model, tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelNotFoundError if content is None else LlamacliError):
        opened(quantized_model, tmp_path / name)


def test_a_draft_model_counts_in_the_memory_check(quantized_model, other_model):
    plain = fit_model(quantized_model, ModelParams(), CONTEXT)
    both = fit_model(quantized_model, ModelParams(draft_model=str(other_model)), CONTEXT)
    (share,) = (one for one in both.devices if one.host)
    assert share.draft > other_model.stat().st_size // 2
    assert both.total - plain.total >= share.draft


def make_gate(single: float, share: float) -> Gate:
    gate = Gate()
    gate.measured_single(single)
    for _ in range(30):
        for size in (4, 8, 16):
            gate.measured_draft(size, single * (1 + size / 40), 1 << 11, 10, round(10 * share))
    return gate


@pytest.mark.parametrize(
    ("relative_size", "share", "drafts"), [(0.1, 0.9, True), (0.1, 0.0, False), (1.0, 1.0, False), (0.6, 0.7, False)]
)
def test_a_model_drafts_if_that_saves_time(relative_size, share, drafts):
    account = Account()
    account.book(0.0, 10.0)
    model_gate = ModelGate(relative_size)
    assert model_gate.count(make_gate(0.010, share), account, 15, 1) in ((3,) if drafts else (0, 3))
    model_gate.book(0.010, 0.020)
    assert (model_gate.count(make_gate(0.010, share), account, 15, 1) > 3) == drafts


def test_a_long_text_is_read_when_the_answer_is_long():
    gate, model_gate = make_gate(0.010, 0.9), ModelGate(0.1)
    model_gate.measured_catch_up(100, 0.1)
    account = Account()
    assert model_gate.count(gate, account, 15, 10) > 0
    assert model_gate.count(gate, account, 15, 1000) == 0
    account.book(0.0, 10.0)
    assert model_gate.count(gate, account, 15, 1000) > 0


def test_trials_of_a_model_that_does_not_pay_are_few():
    gate, model_gate, account = make_gate(0.010, 0.0), ModelGate(0.1), Account()
    lost, trials = 0.0, 0
    for _ in range(2000):
        count = model_gate.count(gate, account, 15, 1)
        if count:
            trials += 1
            lost += 0.005
            model_gate.book(-0.005, 0.015)
        else:
            model_gate.passed(0.010)
    assert trials >= 1
    assert lost <= 0.015 + 0.005 * 2000 * 0.015


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 1, 6), (1.0, 60, 127)])
def test_a_first_answer_tells_a_useless_draft_model_from_a_right_one(share, least, most):
    gate, model_gate, account = Gate(), ModelGate(0.2), Account()
    position = drafted = 0
    gate.measured_single(0.010)
    while position < 128:
        count = model_gate.count(gate, account, 15, 1)
        drafted += count
        position += 1
        if not count:
            account.book(0.0, 0.010)
            model_gate.passed(0.010)
            continue
        accepted = round(share * count)
        size = next(one for one in (4, 8, 16) if count < one)
        check, making = 0.010 * (1 + 0.1 * size), 0.002 * count
        gate.measured_draft(size, check, 1 << 11, count, accepted)
        saved = 0.010 * (accepted + 1) - check - making
        account.book(saved, check + making)
        model_gate.book(saved, check + making)
        position += accepted
    assert least <= drafted <= most


def test_less_probable_tokens_are_worth_drafting_if_they_are_cheap():
    gate = make_gate(0.010, 0.5)
    assert 0 < ModelGate(0.01).least(gate) < ModelGate(0.5).least(gate) <= 0.9
    assert ModelGate(0.5).least(Gate()) == 0.0


def test_a_model_that_takes_back_no_token_says_that_nothing_is_drafted(tmp_path):
    recurrent = memory_model(tmp_path / "recurrent.gguf", "recurrent")
    draft = tiny.tiny_model(tmp_path / "draft.gguf", context=4096)
    with opened(recurrent, draft) as engine:
        assert engine.notes == ["draft.gguf drafts nothing: the layers of recurrent.gguf cannot take back tokens"]
        assert answer(engine, TEXT, GenerationParams(max_tokens=20, sampling=GREEDY, draft=4)).timings.draft_n == 0
    with pytest.raises(UsageError, match="cannot be a draft model: it is recurrent"):
        opened(draft, recurrent)


def test_two_caches_must_fit_together(quantized_model, monkeypatch):
    plain, itself = (ContextParams(n_ctx=4096, n_seq_max=256, threads=1), str(quantized_model))
    with Engine(quantized_model, ModelParams(draft_model=itself), plain) as engine:
        one = cache_size.cache_bytes(engine.model, plain) * 4096 * 256
        monkeypatch.setattr(cache_size, "available_memory", lambda: one * 3 // 2)
        with pytest.raises(MemoryFullError, match=r"the draft model .*: the KV caches of 4096 tokens need .*, but only"):
            answer(engine, TEXT, GenerationParams(max_tokens=4))


@pytest.mark.parametrize("kind", ["hybrid", "swa"])
@pytest.mark.parametrize("draft", [1, 4, 15])
def test_layers_that_keep_little_take_back_what_was_wrong(tmp_path_factory, kind, draft):
    folder = tmp_path_factory.mktemp(kind)
    target = memory_model(folder / "target.gguf", kind)
    small = tiny.tiny_model(folder / "draft.gguf", context=4096)
    params = GenerationParams(max_tokens=60, sampling=SAMPLINGS["greedy"], draft=0)
    with opened(target, None) as plain, opened(target, small) as drafting:
        for text in (TEXT, TEXT + "in the", "other"):
            expected = answer(plain, text, params)
            found = answer(drafting, text, dataclasses.replace(params, draft=draft))
            assert found.content == expected.content
            assert found.timings.draft_n > found.timings.draft_n_accepted
