"""Drafts by an EAGLE-3 head from a file of its own, which never change an answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
import tiny_eagle
import tiny_mtp
from text_answer import answer

from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.fit.meter import NativeMeter
from llamacli.engine.fit.search import fit_model
from llamacli.engine.generation.drafts.draft_model import draft_context_params
from llamacli.engine.generation.drafts.head_drafts import HeadDrafts, head_context_params
from llamacli.engine.generation.drafts.model_gate import ModelGate
from llamacli.engine.generation.drafts.texts import Texts
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import ModelFileError, ModelUnsupportedError, UsageError

VOCABULARY = tiny.default_vocabulary()
CONTEXT = ContextParams(n_ctx=512, threads=1)
TEXT = "Once upon a time"
GREEDY = SamplingParams(temperature=0, ignore_eos=True)
SAMPLINGS = {
    "greedy": GREEDY,
    "seeded": SamplingParams(seed=3, temperature=0.7, ignore_eos=True),
    "penalties": SamplingParams(seed=5, temperature=0.5, repeat_penalty=1.1, ignore_eos=True),
}
HEADS = {
    "whole": {},
    "borrows embeddings and output": {"own": ()},
    "few tokens, norms": {"normalizes": True, "known": range(3, 250)},
    "narrow": {"width": 32, "layers": (2, 1, 0)},
}
ALL_TOKENS = 309


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Path:
    return tiny.tiny_model(tmp_path_factory.mktemp("eagle") / "target.gguf", layers=3, context=4096)


@pytest.fixture(scope="module")
def heads(target) -> dict[str, Path]:
    """Heads with random weights for that model."""
    return {
        name: tiny_eagle.eagle_head(target.with_name(f"head-{number}.gguf"), **{"layers": (0, 1, 2)} | options)
        for number, (name, options) in enumerate(HEADS.items())
    }


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory) -> tuple[Path, Path]:
    """A model with a recurrent layer, and a head that takes what its last layer makes."""
    folder = tmp_path_factory.mktemp("hybrid")
    return tiny_mtp.hybrid_mtp_model(folder / "target.gguf"), tiny_eagle.eagle_head(folder / "head.gguf", layers=(0, 1, 2))


@pytest.fixture(scope="module")
def foreseeing(tmp_path_factory) -> dict[int, tuple[Path, Path]]:
    """A model and a head that knows its next tokens; then all but every seventh."""
    return {unknown: tiny_eagle.foreseeing_pair(tmp_path_factory.mktemp("foreseeing"), unknown=unknown) for unknown in (0, 7)}


def opened(target: Path, head: Path | None, context: ContextParams = CONTEXT) -> Engine:
    return Engine(target, ModelParams(draft_model=str(head) if head is not None else None), context)


def plain(target: Path, text: str, params: GenerationParams) -> Answer:
    with opened(target, None) as engine:
        return answer(engine, text, dataclasses.replace(params, draft=0))


def watch(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Return the list to which all drafts of a head are added."""
    made: list[list[int]] = []
    draft = HeadDrafts.draft

    def watched(self: HeadDrafts, slot: int, text: list[int], most: int, least: float) -> list[int]:
        made.append(draft(self, slot, text, most, least))
        return made[-1]

    monkeypatch.setattr(HeadDrafts, "draft", watched)
    return made


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_answer_is_the_one_without_a_head(target, heads, kind, sampling):
    params = GenerationParams(max_tokens=60, sampling=SAMPLINGS[sampling])
    expected = plain(target, TEXT, params)
    with opened(target, heads[kind]) as engine:
        for draft in (0, 1, 5, None):
            found = answer(engine, TEXT, dataclasses.replace(params, draft=draft))
            assert found.content == expected.content
            assert found.timings.predicted_n == expected.timings.predicted_n
            assert draft is None or bool(found.timings.draft_n) == bool(draft)


def test_a_hybrid_model_shows_what_its_last_layer_makes(hybrid):
    target, head = hybrid
    params = GenerationParams(max_tokens=60, sampling=GREEDY, draft=4)
    with opened(target, head) as engine:
        found = answer(engine, TEXT, params)
    assert found.content == plain(target, TEXT, params).content
    assert found.timings.draft_n > 0


DRAFTS = {
    "few tokens, norms": [
        [93, 233, 132, 132, 100], [108, 226, 85, 85, 10],
    ],
    "borrows embeddings and output": [
        [20, 66, 66, 66, 66], [91, 91, 207, 85, 85],
    ],
}  # fmt: skip
"""The first drafts of llama.cpp's llama-speculative-simple after the answer's first token, for the same files and text."""


@pytest.mark.parametrize("kind", DRAFTS)
def test_drafts_are_those_of_llama_cpp(target, heads, kind, monkeypatch):
    made = watch(monkeypatch)
    with opened(target, heads[kind]) as engine:
        answer(engine, "Once upon a time there was", GenerationParams(max_tokens=31, sampling=GREEDY, draft=5))
    assert made[: len(DRAFTS[kind])] == DRAFTS[kind]


@pytest.mark.parametrize("draft", [1, 4, 15])
def test_what_a_head_foresees_is_accepted(foreseeing, draft):
    target, head = foreseeing[0]
    params = GenerationParams(max_tokens=60, sampling=SamplingParams(temperature=0), draft=draft)
    with opened(target, head) as engine:
        found = answer(engine, TEXT, params)
    assert found.content == plain(target, TEXT, params).content
    assert found.timings.draft_n_accepted == found.timings.draft_n > 20


def test_a_head_drafts_the_tokens_that_it_knows(foreseeing, monkeypatch):
    made = watch(monkeypatch)
    target, head = foreseeing[7]
    params = GenerationParams(max_tokens=100, sampling=GREEDY, draft=5)
    with opened(target, head) as engine:
        found = answer(engine, TEXT, params)
    assert found.content == plain(target, TEXT, params).content
    assert found.timings.draft_n > found.timings.draft_n_accepted > 50
    assert all(token % 7 for tokens in made for token in tokens)


def test_texts_of_all_kinds_are_the_same(target, heads):
    texts = ["a", "Hello world", TEXT * 30, "1 2 3 4 5 6 7 8", "\n\n", "é日本", "{}[]()", " ".join(map(str, range(90)))]
    params = GenerationParams(max_tokens=24, sampling=GREEDY)
    with opened(target, heads["whole"]) as engine, opened(target, None) as alone:
        for number, text in enumerate(texts * 3):
            found = answer(engine, text, dataclasses.replace(params, draft=(3, 7, None)[number % 3]))
            assert found.content == answer(alone, text, dataclasses.replace(params, draft=0)).content


def test_a_head_follows_a_conversation_that_goes_back_and_a_full_context(foreseeing):
    target, head = foreseeing[0]
    params = GenerationParams(max_tokens=20, sampling=GREEDY, draft=4)
    with opened(target, head) as engine, opened(target, None) as alone:
        for text in (TEXT, TEXT + " there was", "another text", TEXT, TEXT * 20):
            found = answer(engine, text, params)
            assert found.content == answer(alone, text, dataclasses.replace(params, draft=0)).content
            assert found.timings.draft_n_accepted == found.timings.draft_n > 0
        long = dataclasses.replace(params, max_tokens=700, context_shift=True)
        assert answer(engine, TEXT, long).content == answer(alone, TEXT, dataclasses.replace(long, draft=0)).content


def test_a_restored_prompt_has_no_states_and_the_same_answer(foreseeing, tmp_path):
    target, head = foreseeing[0]
    params = GenerationParams(max_tokens=20, sampling=GREEDY, draft=0)
    with opened(target, None) as alone:
        expected = answer(alone, TEXT, params)
        alone.save_state(tmp_path / "state")
    with opened(target, head) as engine:
        engine.load_state(tmp_path / "state")
        found = answer(engine, TEXT, dataclasses.replace(params, draft=4))
        assert found.usage.cached_tokens > 0
        assert found.content == expected.content
        assert found.timings.draft_n_accepted == found.timings.draft_n > 0


def test_kept_prompts_have_the_same_answers(target, heads):
    params = GenerationParams(max_tokens=20, sampling=GREEDY, draft=4)
    with opened(target, heads["whole"]) as engine, opened(target, None) as alone:
        engine.keep_prefixes(16 << 20)
        for text in (TEXT * 8, "another text " * 9, TEXT * 8 + " again", "another text " * 9):
            assert answer(engine, text, params).content == answer(alone, text, dataclasses.replace(params, draft=0)).content


def test_answers_side_by_side_are_the_same_beside_a_head(target, heads):
    context = dataclasses.replace(CONTEXT, n_seq_max=2, invariant=True)
    params = GenerationParams(max_tokens=30, sampling=SAMPLINGS["seeded"], draft=4)

    def contents(head: Path | None) -> list[str]:
        with opened(target, head, context) as engine:
            events = engine.answer(engine.text_turn(TEXT), params, samples=2)
            answers = [one for one in events if isinstance(one, Answer)]
            return [one.content for one in sorted(answers, key=lambda one: one.index)]

    assert contents(heads["whole"]) == contents(None)


def test_a_cancelled_answer_leaves_the_head_usable(foreseeing):
    target, head = foreseeing[0]
    params = GenerationParams(max_tokens=400, sampling=GREEDY, draft=4)
    with opened(target, head) as engine:
        for number, _ in enumerate(engine.answer(engine.text_turn(TEXT), params)):
            if number == 20:
                engine.cancel()
        short = dataclasses.replace(params, max_tokens=30)
        found = answer(engine, TEXT, short)
    assert found.content == plain(target, TEXT, short).content
    assert found.timings.draft_n_accepted == found.timings.draft_n > 0


def test_a_head_that_is_given_up_reads_no_more_of_the_answer(target, heads, monkeypatch):
    followed: list[int] = []
    follow = HeadDrafts.follow

    def watched(self: HeadDrafts, slot: int, tokens: list[int], position: int, output: int) -> None:
        followed.append(len(tokens))
        follow(self, slot, tokens, position, output)

    monkeypatch.setattr(HeadDrafts, "follow", watched)
    monkeypatch.setattr(ModelGate, "count", lambda *_: 0)
    monkeypatch.setattr(Texts, "guess", lambda *_: (0, []))
    params = GenerationParams(max_tokens=100, sampling=GREEDY)
    with opened(target, heads["whole"], dataclasses.replace(CONTEXT, burst_seconds=0.0)) as engine:
        for text in (TEXT, "another text"):
            followed.clear()
            prompt = answer(engine, text, params).usage.prompt_tokens
            assert sum(followed) <= prompt + 10
            assert sum(followed) > prompt


def test_small_batches_are_followed(target, heads, monkeypatch):
    made = watch(monkeypatch)
    params = GenerationParams(max_tokens=20, sampling=GREEDY, draft=4)
    drafts = []
    for context in (CONTEXT, dataclasses.replace(CONTEXT, n_batch=16, n_ubatch=8)):
        made.clear()
        with opened(target, heads["whole"], context) as engine:
            answer(engine, TEXT * 10, params)
        drafts.append(list(made))
    assert drafts[0] == drafts[1] != []


@pytest.mark.parametrize("kind", ["whole", "borrows embeddings and output"])
def test_the_memory_check_counts_the_head(target, heads, kind):
    alone, both = (fit_model(target, ModelParams(draft_model=head), CONTEXT) for head in (None, str(heads[kind])))
    assert both.devices[0].draft > heads[kind].stat().st_size // 2
    assert both.total >= alone.total + both.devices[0].draft


def test_a_head_counts_as_what_llama_cpp_lays_out_and_the_states_that_it_takes(tmp_path):
    tokens = [f"<{number}>" for number in range(10_000)]
    many = dataclasses.replace(
        VOCABULARY, tokens=(*VOCABULARY.tokens, *tokens), types=(*VOCABULARY.types, *[tiny.USER_DEFINED] * len(tokens))
    )
    target = tiny.tiny_model(tmp_path / "target.gguf", vocabulary=many, context=4096)
    head = tiny_eagle.eagle_head(tmp_path / "head.gguf", vocabulary=many, layers=(0, 1, 1), known=range(2000))
    context = dataclasses.replace(CONTEXT, n_ctx=2048)
    (counted,) = fit_model(target, ModelParams(draft_model=str(head)), context).devices
    (alone,) = NativeMeter(head).measure(ModelParams(), head_context_params(draft_context_params(context)), 2048).devices
    laid_out = alone.weights + alone.cache + alone.compute
    states = 3 * 64 * 4 * context.n_batch
    assert 0.9 * laid_out < counted.draft - states < 1.5 * laid_out


MORE_TOKENS = dataclasses.replace(VOCABULARY, tokens=(*VOCABULARY.tokens, "<more>"), types=(*VOCABULARY.types, tiny.CONTROL))
OTHER_TOKEN = dataclasses.replace(VOCABULARY, tokens=(*VOCABULARY.tokens[:9], "other", *VOCABULARY.tokens[10:]))
REFUSED = {
    "width": ({"taken": 32}, "it takes states of 32 values, those of the model have 64"),
    "layers": ({"layers": (0, 1, 3)}, "it takes the input of layer 3, the model has layers 0 to 2"),
    "number of tokens": ({"vocabulary": MORE_TOKENS}, "it has 310 tokens, the model 309"),
    "a token": ({"vocabulary": OTHER_TOKEN}, 'token 9 is "other", that of the model'),
    "embeddings": ({"width": 32, "own": ("output",)}, "it has no embeddings, and its layer is 32 wide, the model's 64"),
    "output": ({"own": (), "known": range(9)}, "it has no output matrix for its 9 tokens, that of the model has 309"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_head_of_another_model_is_refused_before_anything_is_loaded(target, tmp_path, case):
    options, message = REFUSED[case]
    head = tiny_eagle.eagle_head(tmp_path / "head.gguf", **{"layers": (0, 1, 2)} | options)
    loaded: list[float] = []
    with pytest.raises(UsageError) as caught:
        Engine(target, ModelParams(draft_model=str(head)), CONTEXT, on_load=loaded.append)
    assert message in caught.value.message
    assert caught.value.parameter == "draft_model"
    assert loaded == []


@pytest.mark.parametrize("known", [(5, ALL_TOKENS), (5, -1), (2**40,)])
def test_a_damaged_head_is_refused_before_anything_is_loaded(target, tmp_path, known):
    head = tiny_eagle.eagle_head(tmp_path / "head.gguf", layers=(0, 1, 2), known=known)
    with pytest.raises(ModelFileError, match=r"head.gguf: tensor d2t: has token .*, outside the vocabulary of 309 tokens"):
        opened(target, head)


def test_a_model_whose_layers_are_hidden_is_refused(tmp_path):
    target = tiny_mtp.mtp_model(tmp_path / "target.gguf")
    head = tiny_eagle.eagle_head(tmp_path / "head.gguf")
    with pytest.raises(UsageError, match=r"llama.cpp does not show the states of the layers of the architecture hy_v3"):
        opened(target, head)


@pytest.mark.parametrize("use", [lambda path: opened(path, None), lambda path: fit_model(path, ModelParams(), CONTEXT)])
def test_a_head_alone_is_no_model(heads, use):
    with pytest.raises(ModelUnsupportedError, match="is the EAGLE-3 head of a model, not a model"):
        use(heads["whole"])
