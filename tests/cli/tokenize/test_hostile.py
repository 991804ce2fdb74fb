"""Texts made to hurt, with every vocabulary of llama.cpp: no crash, the right tokens, and time in proportion to the size."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import tokenize_cases as cases

from llamacli.engine.runtime.model import Model
from llamacli.engine.tokenization.documents import chunks_of, text_document
from llamacli.engine.tokenization.tokenizer import Tokenizer

SIZE = 1 << 20
SLACK_SECONDS = 0.4


def seconds(tokenizer: Tokenizer, text: str) -> tuple[float, int]:
    """How long all of it takes, and how many tokens it is."""
    started = time.perf_counter()
    count = sum(len(chunk.tokens) for chunk in chunks_of(tokenizer, [text_document("text", text.encode())]))
    return time.perf_counter() - started, count


@pytest.mark.parametrize("path", cases.VOCABULARIES, ids=lambda path: path.stem.removeprefix("ggml-vocab-"))
def test_hostile_texts(path: Path) -> None:
    """A sixteenth of a megabyte with each vocabulary; each text as a whole megabyte with some."""
    number = cases.VOCABULARIES.index(path)
    with Model(path, vocab_only=True) as model:
        tokenizer = Tokenizer(model, wrap=False)
        assert tokenizer.rules  # made now, not while the clock runs
        for place, (name, text) in enumerate(cases.hostile(SIZE // 16).items()):
            small, count = seconds(tokenizer, text)
            assert count == len(model.vocabulary.tokenize(text)), name
            if (number + place) % 7 == 0:
                large, _ = seconds(tokenizer, cases.hostile(SIZE)[name])
                assert large < 16 * 8 * small + SLACK_SECONDS, f"{name}: {small:.3f} s, and {large:.3f} s for 16 times as much"


@pytest.mark.parametrize("name", ["gpt-neox", "mpt", "phi-3", "llama-spm", "gemma-4"])
def test_alternating_white_space(name: str) -> None:
    """llama.cpp counts through all fragments before each token that it cuts out: the square of their number."""
    (path,) = [path for path in cases.VOCABULARIES if path.stem == f"ggml-vocab-{name}"]
    with Model(path, vocab_only=True) as model:
        tokenizer = Tokenizer(model, wrap=False)
        texts = [
            "x  " * 20_000,
            "  \n" * 20_000,
            "\t\t\n  " * 12_000,
            "".join(" " * n + "\n" for n in itertools.islice(itertools.cycle(range(40)), 3000)),
        ]
        for text in texts:
            taken, _ = seconds(tokenizer, text)
            assert taken < 30, repr(text[:10])  # linear work takes a second or two; the square of it, minutes
