"""Cutting a text does not change its tokens: with every vocabulary of llama.cpp, and with every pre-tokenizer that it knows."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import tiny
import tokenize_cases as cases

from llamacli.engine.runtime.model import Model
from llamacli.engine.tokenization import cutter as tokenizing_text
from llamacli.engine.tokenization import split_rules as tokenizing_rules
from llamacli.engine.tokenization.documents import chunks_of, text_document
from llamacli.engine.tokenization.tokenizer import Tokenizer
from llamacli.errors import ModelFileError

SOURCE = Path(__file__).parents[3] / "vendor/llama.cpp/src/llama-vocab.cpp"


def whole_and_cut(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int], int]:
    """The tokens of the whole text, those of its parts one after the other, and how many parts there were."""
    chunks = list(chunks_of(tokenizer, [text_document("text", text.encode())]))
    assert b"".join(chunk.part.data for chunk in chunks) == text.encode()
    tokens = [token for chunk in chunks for token in chunk.tokens]
    return tokenizer.vocabulary.tokenize(text, special=tokenizer.special, add_special=True), tokens, len(chunks)


def check(model: Model, monkeypatch: pytest.MonkeyPatch, *, texts: int, words: int, seed: int = 0) -> int:
    """Cuts random texts as finely as the rules allow; returns the number of cuts."""
    draw = random.Random(seed)
    tokenizers = [Tokenizer(model, special=special, threads=2) for special in (False, True)]
    cuts = 0
    for number in range(texts):
        size = draw.choice((1, 3, 17))
        monkeypatch.setattr(tokenizing_text, "PART", size)
        monkeypatch.setattr(tokenizing_text, "SMALL_PART", size)
        text = cases.text(draw, words)
        whole, cut, parts = whole_and_cut(tokenizers[number % 4 == 3], text)
        assert cut == whole, repr(text)
        cuts += parts - 1
    return cuts


@pytest.mark.parametrize("path", cases.VOCABULARIES, ids=lambda path: path.stem.removeprefix("ggml-vocab-"))
def test_every_vocabulary(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Model(path, vocab_only=True) as model:
        assert check(model, monkeypatch, texts=6, words=40) > 20


def pre_tokenizers() -> list[str]:
    """The names in llama.cpp's source."""
    return sorted(set(re.findall(r'tokenizer_pre == "([^"]+)"', SOURCE.read_text(encoding="utf-8"))))


def test_there_are_rules_for_every_pre_tokenizer() -> None:
    known = {*tokenizing_rules._BY_PRE_TOKENIZER, *tokenizing_rules.GEMMA_LIKE}
    assert set(pre_tokenizers()) <= known


@pytest.mark.parametrize("pre", pre_tokenizers())
def test_every_pre_tokenizer(pre: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_name = "whitespace" if pre == "whitespace" else "gpt2"
    path = tiny.tiny_model(tmp_path / "model.gguf", vocabulary=cases.crossing_vocabulary(pre, model=model_name))
    with Model(path, vocab_only=True) as model:
        assert check(model, monkeypatch, texts=4, words=40, seed=len(pre)) > 10


def test_a_pre_tokenizer_that_would_abort_is_refused(tmp_path: Path) -> None:
    path = tiny.tiny_model(tmp_path / "model.gguf", vocabulary=cases.crossing_vocabulary("whitespace"))
    with pytest.raises(ModelFileError, match="aborts on two spaces"):
        Model(path, vocab_only=True)
