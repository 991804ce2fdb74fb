"""Drafts by a model's own layers for further tokens (multi-token prediction), which never change an answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
import tiny_mtp
from text_answer import answer

from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.fit.search import fit_model
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import UsageError

CONTEXT = ContextParams(n_ctx=512, threads=1)
TEXT = "Once upon a time"
SAMPLINGS = {
    "greedy": SamplingParams(temperature=0, ignore_eos=True),
    "seeded": SamplingParams(seed=3, temperature=0.7, ignore_eos=True),
    "penalties": SamplingParams(seed=5, temperature=0.5, repeat_penalty=1.1, ignore_eos=True),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Models whose head knows the next token, and with random weights; the hybrid ones have a recurrent layer."""
    folder = tmp_path_factory.mktemp("heads")
    return {
        "foreseeing": tiny_mtp.mtp_model(folder / "foreseeing.gguf", foresees=True),
        "random": tiny_mtp.mtp_model(folder / "random.gguf"),
        "hybrid": tiny_mtp.hybrid_mtp_model(folder / "hybrid.gguf"),
        "foreseeing hybrid": tiny_mtp.hybrid_mtp_model(folder / "foreseeing-hybrid.gguf", foresees=True),
    }


def opened(path: Path, *, mtp: bool, context: ContextParams = CONTEXT) -> Engine:
    return Engine(path, ModelParams(mtp=mtp), context)


@pytest.mark.parametrize("kind", ["foreseeing", "random", "hybrid", "foreseeing hybrid"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_answer_is_the_one_without_heads(models, kind, sampling):
    params = GenerationParams(max_tokens=60, sampling=SAMPLINGS[sampling], draft=0)
    with opened(models[kind], mtp=False) as engine:
        expected = answer(engine, TEXT, params)
    with opened(models[kind], mtp=True) as engine:
        for draft in (0, 1, 5, None):
            found = answer(engine, TEXT, dataclasses.replace(params, draft=draft))
            assert found.content == expected.content
            assert found.timings.predicted_n == expected.timings.predicted_n
            assert bool(found.timings.draft_n) == (bool(draft) if draft is not None else bool(found.timings.draft_n))


@pytest.mark.parametrize("kind", ["foreseeing", "foreseeing hybrid"])
@pytest.mark.parametrize("draft", [1, 4, 15])
def test_what_heads_foresee_is_accepted(models, kind, draft):
    params = GenerationParams(max_tokens=60, sampling=SamplingParams(temperature=0), draft=draft)
    with opened(models[kind], mtp=True) as engine:
        found = answer(engine, TEXT, params)
        assert found.timings.draft_n_accepted == found.timings.draft_n > 20


def test_heads_follow_a_conversation_that_goes_back_and_a_full_context(models):
    params = GenerationParams(max_tokens=20, sampling=SAMPLINGS["greedy"], draft=4)
    texts = [TEXT, TEXT + " there was", "another text", TEXT, TEXT * 20]
    with opened(models["random"], mtp=True) as engine, opened(models["random"], mtp=False) as plain:
        for text in texts:
            found = answer(engine, text, params)
            assert found.content == answer(plain, text, dataclasses.replace(params, draft=0)).content
            assert found.timings.draft_n > 0
        long = dataclasses.replace(params, max_tokens=700, context_shift=True)
        assert answer(engine, TEXT, long).content == answer(plain, TEXT, dataclasses.replace(long, draft=0)).content


def test_answers_side_by_side_are_the_same_beside_heads(models):
    context = dataclasses.replace(CONTEXT, n_seq_max=2, invariant=True)
    params = GenerationParams(max_tokens=30, sampling=SAMPLINGS["seeded"], draft=4)

    def contents(*, mtp: bool) -> list[str]:
        with opened(models["random"], mtp=mtp, context=context) as engine:
            events = engine.answer(engine.text_turn(TEXT), params, samples=2)
            answers = [one for one in events if isinstance(one, Answer)]
            return [one.content for one in sorted(answers, key=lambda one: one.index)]

    assert contents(mtp=True) == contents(mtp=False)


def test_the_memory_check_counts_heads(models):
    plain, both = (fit_model(models["random"], ModelParams(mtp=mtp), CONTEXT) for mtp in (False, True))
    assert both.devices[0].draft > 0
    assert both.total >= plain.total + both.devices[0].draft


REFUSED = {
    "no such layers": (lambda path: tiny.tiny_model(path), "has no layer that predicts further tokens"),
    "only the number of them": (lambda path: tiny_mtp.mtp_model(path, drop="nextn"), "has no layer that predicts"),
    "several": (lambda path: tiny_mtp.mtp_model(path, heads=2), "has 2 MTP layers; only one can be used"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_whose_heads_cannot_be_used_is_refused(tmp_path, case):
    make, message = REFUSED[case]
    with pytest.raises(UsageError, match=message) as caught:
        opened(make(tmp_path / "model.gguf"), mtp=True)
    assert caught.value.parameter == "mtp"
    assert " -" not in f" {caught.value.message} {caught.value.hint}"  # flags are the command line's


def test_heads_and_a_draft_model_exclude_each_other():
    with pytest.raises(UsageError, match="mtp cannot be used with draft_model"):
        ModelParams(mtp=True, draft_model="m.gguf")
