"""Checkpoints: models whose memory cannot be cut evaluate no beginning of a prompt twice, and say what they would have said."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_memories
from text_answer import answer

from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.generation.job import Job
from llamacli.engine.generation.prompts.checkpoints import LEAST_PROMPT, TAIL, Checkpoint, Checkpoints
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.engine.runtime.context import Context
from llamacli.errors import StateError

GREEDY = GenerationParams(max_tokens=12, sampling=SamplingParams(temperature=0, ignore_eos=True))
LONG = GenerationParams(max_tokens=150, sampling=SamplingParams(seed=3, ignore_eos=True))
DOCUMENT = " ".join(f"world {i} the weather" for i in range(60))
CONTEXT = ContextParams(n_ctx=2048, threads=1, n_ubatch=128)


@pytest.fixture(params=tiny_memories.KINDS)
def model(memory_models: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    return memory_models[request.param]


def engine_of(model: Path, context: ContextParams = CONTEXT, **weights: object) -> Engine:
    return Engine(model, ModelParams(**weights), context)


def ask(engine: Engine, text: str, params: GenerationParams = GREEDY) -> Answer:
    return answer(engine, text, params)


def asked(model: Path, text: str, params: GenerationParams = GREEDY, **weights: object) -> str:
    with engine_of(model, **weights) as engine:
        return ask(engine, text, params).content


def size(engine: Engine, text: str) -> int:
    return len(engine.text_turn(text).prompt.tokens)


@pytest.mark.parametrize("kernels", ["own", "upstream"])
def test_a_prompt_is_not_read_again_for_another_answer(model, kernels):
    with engine_of(model, kernels=kernels) as engine:
        first = ask(engine, DOCUMENT, LONG)
        again = [ask(engine, DOCUMENT, params) for params in (LONG, GREEDY)]
        assert all(one.usage.cached_tokens >= size(engine, DOCUMENT) - TAIL for one in again)
    assert first.content == again[0].content
    assert again[1].content == asked(model, DOCUMENT, kernels=kernels)


def test_prompts_go_on_from_what_they_share(model):
    longer, other = DOCUMENT + " and more of it", DOCUMENT[:700] + " but another end of it all"
    with engine_of(model) as engine:
        ask(engine, DOCUMENT, LONG)
        answers = [ask(engine, text) for text in (longer, other, longer, DOCUMENT[:500])]
        found = [one.usage.cached_tokens for one in answers]
        shared = size(engine, DOCUMENT[:700])
        assert found[0] >= size(engine, DOCUMENT) - TAIL
        assert shared - 128 - 4 <= found[1] <= shared
        assert found[2] > 128
        assert found[3] >= 128
    expected = [asked(model, text) for text in (longer, other, longer, DOCUMENT[:500])]
    assert [one.content for one in answers] == expected


def test_a_short_prompt_is_evaluated_in_one_go(model):
    with engine_of(model) as engine:
        text = DOCUMENT[:400]
        assert size(engine, text) < LEAST_PROMPT
        first = [ask(engine, text), ask(engine, "another"), ask(engine, text)]
        assert first[0].content == first[2].content


def test_a_prompt_comes_back_from_memory_when_others_had_its_slot(model):
    with engine_of(model) as engine:
        engine.keep_prefixes(64 << 20)
        first = ask(engine, DOCUMENT)
        ask(engine, "something else entirely " * 20)
        again = ask(engine, DOCUMENT)
        assert again.usage.cached_tokens == size(engine, DOCUMENT) - TAIL
        assert again.content == first.content


def test_rows_share_the_document_that_they_begin_with(model):
    questions = [f"{DOCUMENT} question {i} of all" for i in range(5)]
    with engine_of(model, ContextParams(threads=1)) as engine:
        jobs = (Job(number=i, turn=engine.text_turn(text), params=GREEDY) for i, text in enumerate(questions))
        found = {one.index: one for one in engine.answer_many(jobs, parallel=2) if isinstance(one, Answer)}
        document = size(engine, DOCUMENT)
    assert sum(one.usage.cached_tokens >= document - 4 for one in found.values()) == len(questions) - 1
    assert [found[i].content for i in range(5)] == [asked(model, text) for text in questions]


def test_a_window_leaves_drafts_their_text(memory_models):
    """What a rejected draft has overwritten is never needed again."""
    text = "a b c d e f g h " * 30
    many = GenerationParams(max_tokens=100, draft=6, sampling=GREEDY.sampling)
    with engine_of(memory_models["swa"]) as engine:
        drafted = ask(engine, text, many)
    plain = asked(memory_models["swa"], text, GenerationParams(max_tokens=100, draft=0, sampling=GREEDY.sampling))
    assert drafted.timings.draft_n > drafted.timings.draft_n_accepted
    assert drafted.content == plain


@pytest.mark.parametrize("kind", ["recurrent", "hybrid"])
def test_a_recurrent_model_makes_no_drafts(memory_models, kind):
    with engine_of(memory_models[kind]) as engine:
        answer = ask(engine, "a b c d " * 30, GenerationParams(max_tokens=60, draft=6, sampling=GREEDY.sampling))
    assert answer.timings.draft_n == 0


def test_a_rejected_checkpoint_costs_an_evaluation_only(model, monkeypatch):
    def refuse(*_: object, **how: object) -> None:
        raise StateError("llama.cpp rejected the saved state")

    with engine_of(model) as engine:
        first = ask(engine, DOCUMENT, LONG)
        monkeypatch.setattr(Context, "restore_sequence", refuse)
        monkeypatch.setattr(Context, "keeps", lambda *_: False)
        again = ask(engine, DOCUMENT, LONG)
    assert (again.usage.cached_tokens, again.content) == (0, first.content)


class NoContext:
    """A context that is not asked."""

    is_cuttable = False


@pytest.mark.parametrize(
    ("capacity", "lengths", "expected"),
    [
        (1000, [10, 20, 30], [10, 20, 30]),
        (20, [100, 200, 300], [200, 300]),
        (30, [100, 150, 200, 900], [100, 200, 900]),
        (30, [100, 700, 750, 900], [100, 700, 900]),
        (9, [100, 200], []),
        (10**6, [*range(10, 190, 10)], [20, *range(40, 190, 10)]),
    ],
)
def test_the_least_missed_checkpoints_are_dropped(capacity, lengths, expected):
    checkpoints = Checkpoints(NoContext(), capacity)
    checkpoints.put(0, [Checkpoint(length, bytes(10)) for length in lengths])
    assert [one.length for one in checkpoints.of(0)] == expected
    assert checkpoints.best(0, 10**6) == max(expected, default=0)


def test_the_slot_with_most_bytes_gives_up_checkpoints_first():
    checkpoints = Checkpoints(NoContext(), 100)
    checkpoints.put(0, [Checkpoint(length, bytes(10)) for length in (100, 200, 300)])
    checkpoints.put(1, [Checkpoint(length, bytes(20)) for length in (100, 200, 300, 400)])
    assert ([len(checkpoints.of(slot)) for slot in (0, 1)]) == [3, 3]
