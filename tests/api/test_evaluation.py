"""Evaluation by hand: what the cache keeps, draft models, and the sequence as arrays."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamacli import Llama, LlamaDraftModel, LlamaPromptLookupDecoding
from llamacli.errors import UsageError

TOKENS = list(range(40, 100))


@pytest.fixture
def llm(tiny_model: Path) -> Iterator[Llama]:
    with Llama(tiny_model, n_ctx=256, n_threads=1, seed=1) as llm:
        yield llm


def evaluated(llm: Llama, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the sizes of the batches that are evaluated from now on."""
    sizes: list[int] = []
    manual = llm.manual()
    decode = manual._decode

    def count(tokens: list[int], *more: Any) -> None:
        sizes.append(len(tokens))
        decode(tokens, *more)

    monkeypatch.setattr(manual, "_decode", count)
    return sizes


def taken(llm: Llama, tokens: list[int], count: int = 4, **more: Any) -> list[int]:
    return list(itertools.islice(llm.generate(tokens, temp=0, **more), count))


def test_a_prompt_is_evaluated_once(llm: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = evaluated(llm, monkeypatch)
    first = taken(llm, TOKENS)
    assert sizes == [len(TOKENS), 1, 1, 1]
    sizes.clear()
    assert taken(llm, TOKENS) == first
    assert sizes == [1, 1, 1, 1]
    sizes.clear()
    other = [*TOKENS[:50], 7, 8, 9]
    found = taken(llm, other, 1)
    assert sizes == [3]
    with Llama(llm.model_path, n_ctx=256, n_threads=1) as fresh:
        assert taken(fresh, other, 1) == found


def test_by_hand_too(llm: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = evaluated(llm, monkeypatch)
    llm.eval(TOKENS)
    wanted = llm.logits().copy()
    llm.reset()
    llm.eval(TOKENS[:30])
    llm.eval(TOKENS[30:])
    np.testing.assert_allclose(llm.logits(), wanted, atol=1e-3)
    assert sum(sizes) == len(TOKENS) + 1 + 30  # the cache ends where the first part ended
    llm.n_tokens = 10
    assert llm.n_tokens == 10
    llm.eval(TOKENS[10:])
    np.testing.assert_allclose(llm.logits(), wanted, atol=1e-3)
    for wrong in (-1, 1000):
        with pytest.raises(UsageError, match="n_tokens must be"):
            llm.n_tokens = wrong


@pytest.mark.parametrize("logits_all", [True, False])
def test_the_sequence_as_arrays(tiny_model: Path, logits_all: bool) -> None:
    with Llama(tiny_model, n_ctx=64, n_threads=1, logits_all=logits_all) as llm:
        llm.eval([77, 78])
        llm.eval([79])
        assert llm.input_ids.dtype == np.intc
        assert llm.input_ids.shape == (64,)
        assert llm.input_ids[: llm.n_tokens].tolist() == list(llm.eval_tokens) == [77, 78, 79]
        assert llm.scores.shape == (3, llm.n_vocab())
        assert len(llm.eval_logits) == (3 if logits_all else 1)
        assert llm.logits().shape == ((3, llm.n_vocab()) if logits_all else (llm.n_vocab(),))
        last = llm.logits()[-1] if logits_all else llm.logits()
        np.testing.assert_array_equal(llm.scores[-1], last)
        assert int(np.argmax(last)) == llm.sample(temp=0) == llm.sample(temp=0, idx=2)
        with pytest.raises(UsageError, match="idx must be 2"):
            llm.sample(idx=0)
        assert llm.sample(temp=0, grammar='root ::= "b"') == llm.tokenize("b", add_bos=False)[0]


def test_drafts_change_no_token_and_save_steps(llm: Llama, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = taken(llm, TOKENS, 20)

    class Oracle(LlamaDraftModel):
        def __call__(self, input_ids: Any, /, **kwargs: Any) -> Any:
            assert input_ids.dtype == np.intc
            known = [*TOKENS, *wanted]
            return np.array([*known[len(input_ids) :][:3], 5])  # right ones, and a wrong one

    for draft in (Oracle(), LlamaPromptLookupDecoding(2, 5)):
        with Llama(tiny_model, n_ctx=256, n_threads=1, draft_model=draft) as drafted:
            sizes = evaluated(drafted, monkeypatch)
            assert taken(drafted, TOKENS, 20) == wanted
            if isinstance(draft, Oracle):
                assert len(sizes) < 10
            assert drafted.n_tokens >= len(TOKENS) + 19


@pytest.mark.parametrize(
    ("tokens", "size", "count", "found"),
    [
        ([1, 2, 3, 1, 2, 3, 1, 2, 3], 3, 2, [1, 2]),
        ([1, 2, 3, 4], 3, 2, []),
        ([5, 1, 9, 1], 2, 4, [9, 1]),
        ([1], 2, 2, []),
    ],
)
def test_looking_up(tokens: list[int], size: int, count: int, found: list[int]) -> None:
    assert LlamaPromptLookupDecoding.find_candidate_pred_tokens(np.array(tokens), size, count).tolist() == found


INTERRUPTED = """
import os, signal, sys, threading, time
from llamacli import Llama

with Llama(sys.argv[1], n_ctx=65536, n_threads=1) as llm:
    llm.eval([77])
    sent = []

    def interrupt():
        time.sleep(0.2)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        llm.eval([77] * 60000)
    except KeyboardInterrupt:
        print(time.monotonic() - sent[0])
        llm.reset()
        llm.eval([77, 78])
        assert llm.n_tokens == 2
"""


def test_an_interrupt_ends_an_evaluation(tiny_model: Path) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, tiny_model], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0  # milliseconds on a quiet machine


def test_criteria_end_completions(llm: Llama) -> None:
    seen: list[tuple[int, Any]] = []

    def long_enough(tokens: np.ndarray, scores: np.ndarray) -> bool:
        seen.append((len(tokens), tokens.dtype))
        scores[:] = 0  # its own
        return len(tokens) >= seen[0][0] + 3

    answer = llm("Hello", max_tokens=50, temperature=0, stopping_criteria=long_enough)
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert {kind for _, kind in seen} == {np.dtype(np.intc)}
