"""Evaluation by hand: what the logits and the callables around them are good for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llamacli import Llama, LlamaGrammar
from llamacli.errors import ConstraintError, GrammarSyntaxError


@pytest.fixture(scope="module")
def llm(tiny_model: Path) -> Iterator[Llama]:
    with Llama(tiny_model, n_ctx=256, n_threads=1, seed=1) as llm:
        yield llm


def test_logits_stay_as_they_were(tiny_model: Path) -> None:
    with Llama(tiny_model, n_ctx=256, n_threads=1) as llm:
        llm.eval([77])
        first = llm.logits()
        assert llm.logits() is first
        copy = first.copy()
        llm.eval([78, 79])
        assert not np.array_equal(llm.logits(), first)
        np.testing.assert_array_equal(first, copy)
    np.testing.assert_array_equal(first, copy)


def test_changed_logits_count(llm: Llama) -> None:
    llm.reset()
    llm.eval([77])
    usual = llm.sample(temp=0)
    llm.logits()[80] = 1e6
    assert llm.sample(temp=0) == 80
    llm.logits()[80] = -1e6
    assert llm.sample(temp=0) == usual


def test_a_processor_counts_for_one_choice(llm: Llama) -> None:
    llm.reset()
    llm.eval([77])
    usual = llm.sample(temp=0)

    def only_80(tokens: list[int], scores: np.ndarray) -> np.ndarray:
        assert tokens.tolist() == [77]
        assert (tokens.dtype, scores.dtype) == (np.intc, np.single)
        changed = np.full_like(scores, -np.inf)
        changed[80] = 0
        return changed

    assert llm.sample(temp=0, logits_processor=[only_80]) == 80
    assert llm.sample(temp=0) == usual


def test_generating_with_callables(llm: Llama) -> None:
    lengths: list[int] = []

    def next_number(tokens: list[int], scores: np.ndarray) -> None:
        lengths.append(len(tokens))
        scores[:] = -np.inf
        scores[tokens[-1] + 1] = 0

    def long_enough(tokens: list[int], scores: np.ndarray) -> bool:
        assert scores.shape == (llm.n_vocab(),)
        return len(tokens) == 6

    made = llm.generate([77, 78], temp=0, logits_processor=next_number, stopping_criteria=[long_enough])
    assert list(made) == [79, 80, 81, 82]
    assert lengths == [2, 3, 4, 5]


def test_arguments_by_position_are_those_of_llama_cpp_python(llm: Llama) -> None:
    made = llm.generate([77, 78], 40, 0.95, 0.05, 1.0, 0.0, 1.1, True)
    assert 0 <= next(made) < llm.n_vocab()
    llm.reset()
    llm.eval([77])
    assert llm.sample(40, 0.95, 0.05, 1.0, 0.0) == llm.sample(temp=0)


def test_generating_under_a_grammar(llm: Llama) -> None:
    for grammar in ('root ::= "left" | "right"', LlamaGrammar.from_string('root ::= "left" | "right"')):
        made = list(llm.generate(llm.tokenize(b"Which?"), grammar=grammar))
        assert llm.detokenize(made) in (b"left", b"right")
    with pytest.raises(GrammarSyntaxError):
        llm.generate([77], grammar="root ::= (")


def test_what_is_sent_is_held_to_the_grammar(llm: Llama) -> None:
    a, b = llm.tokenize(b"a", add_bos=False) + llm.tokenize(b"b", add_bos=False)
    made = llm.generate([77], grammar='root ::= "a" "a" "b"')
    assert next(made) == a
    assert made.send([a]) == b
    made = llm.generate([77], grammar='root ::= "a" "a" "b"')
    next(made)
    with pytest.raises(ConstraintError):
        made.send([b])


def test_a_processor_may_keep_what_it_gets(tiny_model: Path) -> None:
    kept: list[np.ndarray] = []
    with Llama(tiny_model, n_ctx=256, n_threads=1) as llm:
        llm("Hello", max_tokens=2, temperature=0, logit_bias={77: 1e6}, logits_processor=lambda _, scores: kept.append(scores))
        llm.eval(llm.tokenize(b"Hello"))
        first = llm.logits()
    np.testing.assert_allclose(kept[0], first, atol=1e-3)
    assert not np.array_equal(kept[0], kept[1])
