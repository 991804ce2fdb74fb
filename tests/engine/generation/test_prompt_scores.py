"""Log probabilities of a prompt's tokens: those that the engine gives when it is made to choose the same tokens."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from llamacli.engine.chat.question import Question
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams

TEXT = "Hello world, the user is in the world and he is on it."


def answer_of(engine: Engine, question: Question, **fields: object) -> Answer:
    params = GenerationParams(sampling=SamplingParams(temperature=0), **fields)  # type: ignore[arg-type]
    (found,) = (event for event in engine.answer(engine.render(question), params) if isinstance(event, Answer))
    return found


@pytest.mark.parametrize("n_outputs", [0, 4, 7, 64])
@pytest.mark.parametrize("invariant", [False, True])
def test_scores_are_those_of_chosen_tokens(tiny_model: Path, n_outputs: int, invariant: bool) -> None:
    context = ContextParams(n_ctx=256, n_seq_max=2, n_outputs=n_outputs, invariant=invariant, threads=1)
    with Engine(tiny_model, context=context) as engine:
        tokens = engine.tokenize(TEXT)
        scored = answer_of(engine, Question(tokens=tuple(tokens)), max_tokens=2, logprobs=3, score_prompt=True)
        assert [token.id for token in scored.prompt] == tokens
        assert "".join(token.text for token in scored.prompt) == TEXT
        assert scored.prompt[0].logprob is None
        for place in range(1, len(tokens)):
            forced: list[float] = []

            def note(seen: list[int], logits: memoryview, place: int = place, forced: list[float] = forced) -> None:
                highest = max(logits)
                total = math.fsum(math.exp(value - highest) for value in logits)
                forced.append(logits[tokens[place]] - highest - math.log(total))

            turn = engine.render(Question(tokens=tuple(tokens[:place])))
            list(engine.answer(turn, GenerationParams(max_tokens=1, cache_prompt=False), processor=note))
            assert scored.prompt[place].logprob == pytest.approx(forced[0], abs=2e-3)
            best = scored.prompt[place].top
            assert len(best) == 3
            assert best[0].logprob >= best[1].logprob >= best[2].logprob
        plain = answer_of(engine, Question(tokens=tuple(tokens)), max_tokens=2, logprobs=3)
        assert [token.id for token in plain.tokens] == [token.id for token in scored.tokens]
        assert plain.prompt == ()


def test_scoring_runs_beside_other_answers(tiny_model: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    context = ContextParams(n_ctx=256, n_seq_max=4, n_outputs=8, invariant=True, threads=1)
    with Engine(tiny_model, context=context) as engine, ThreadPoolExecutor(4) as threads:
        tokens = tuple(engine.tokenize(TEXT))
        alone = answer_of(engine, Question(tokens=tokens), max_tokens=1, logprobs=0, score_prompt=True)
        text = answer_of(engine, Question(text="Hello", raw=True), max_tokens=40)
        scores = [
            threads.submit(answer_of, engine, Question(tokens=tokens), max_tokens=1, logprobs=0, score_prompt=True)
            for _ in range(2)
        ]
        texts = [threads.submit(answer_of, engine, Question(text="Hello", raw=True), max_tokens=40) for _ in range(2)]
        expected = [token.logprob for token in alone.prompt]
        for one in scores:
            assert [token.logprob for token in one.result().prompt] == pytest.approx(expected, abs=1e-4)
        assert {one.result().content for one in texts} == {text.content}


def test_a_prompt_of_one_token_has_no_score(tiny_model: Path) -> None:
    with Engine(tiny_model, context=ContextParams(n_ctx=64, threads=1)) as engine:
        scored = answer_of(engine, Question(tokens=(5,)), max_tokens=0, logprobs=1, score_prompt=True)
        assert [token.logprob for token in scored.prompt] == [None]
