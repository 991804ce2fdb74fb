"""Sampled text with drafts has the distribution that it has without them, also where its bits are not the same.

Pearson's chi-square statistic of two samples. The seeds are fixed, so that the result is the same on every run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.engine.runtime.exactness import is_exact

ANSWERS = 500
LENGTH = 3
TEXT = "the weather in the world and the weather in us and the weather in the"


@pytest.fixture(scope="module")
def engines(tiny_model, tmp_path_factory) -> Iterator[dict[str, Engine]]:
    """An engine whose batches differ in their bits from single tokens: without a draft model, and with two of them."""
    other = tiny.tiny_model(tmp_path_factory.mktemp("draft") / "other.gguf", layers=1, seed=7)
    drafts: dict[str, Path | None] = {"none": None, "itself": tiny_model, "another": other}
    context = ContextParams(n_ctx=512, threads=1)
    made = {
        name: Engine(tiny_model, ModelParams(kernels="upstream", draft_model=str(path) if path else None), context)
        for name, path in drafts.items()
    }
    yield made
    for engine in made.values():
        engine.close()


def outcomes(engine: Engine, *, draft: int, first_seed: int, temperature: float = 1.0) -> Counter[str]:
    """How often each text was the answer."""
    found: Counter[str] = Counter()
    turn = engine.text_turn(TEXT)
    for seed in range(first_seed, first_seed + ANSWERS):
        sampling = SamplingParams(seed=seed, temperature=temperature, top_k=3, top_p=1.0, min_p=0.0, ignore_eos=True)
        params = GenerationParams(max_tokens=LENGTH, sampling=sampling, draft=draft)
        (answer,) = [one for one in engine.answer(turn, params) if isinstance(one, Answer)]
        found[answer.content] += 1
        assert (answer.timings.draft_n > 0) == (draft > 0)
    return found


def deviations(one: Counter[str], other: Counter[str]) -> float:
    """How many standard deviations the statistic of two samples of one size is above its mean. Rare outcomes count as one."""
    common = [text for text in {*one, *other} if one[text] + other[text] >= 10]
    pairs = [(one[text], other[text]) for text in common]
    pairs.append((ANSWERS - sum(a for a, _ in pairs), ANSWERS - sum(b for _, b in pairs)))
    statistic = sum((a - b) ** 2 / (a + b) for a, b in pairs if a + b)
    freedom = len(pairs) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


def test_the_distribution_is_the_one_without_drafts(engines):
    plain = engines["none"]
    assert not is_exact(plain.model, plain.contexts.params)
    expected = outcomes(plain, draft=0, first_seed=0)
    assert len(expected) > 10
    for name in ("itself", "another"):
        assert deviations(expected, outcomes(engines[name], draft=2, first_seed=10_000)) < 4
    assert deviations(expected, outcomes(plain, draft=0, first_seed=20_000, temperature=0.5)) > 10  # what the test can see
