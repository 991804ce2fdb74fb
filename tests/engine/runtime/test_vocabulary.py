"""Tokenization with every vocabulary that comes with llama.cpp."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamacli.engine.generation.text.stream import TextStream
from llamacli.engine.runtime.model import Model
from llamacli.engine.runtime.vocabulary import LONGEST
from llamacli.errors import UsageError

VOCABULARIES = sorted((Path(__file__).parents[3] / "vendor/llama.cpp/models").glob("ggml-vocab-*.gguf"))


@pytest.mark.parametrize("path", VOCABULARIES, ids=lambda path: path.stem.removeprefix("ggml-vocab-"))
def test_runs_of_one_character_do_not_overflow_the_stack(path: Path) -> None:
    with Model(path, vocab_only=True) as model:
        for character in ("a", " ", "\n", "1", ".", "é", "の"):
            tokens = model.vocabulary.tokenize(character * 40_000)
            assert tokens or character.isspace()
        assert model.vocabulary.tokenize("a" * 400_000)


def test_there_are_vocabularies_to_test() -> None:
    assert len(VOCABULARIES) > 15


def test_more_than_the_longest_is_an_error(tiny_model: Path) -> None:
    with Model(tiny_model, vocab_only=True) as model, pytest.raises(UsageError, match="too long"):
        model.vocabulary.tokenize("a" * (LONGEST + 1))


@pytest.mark.parametrize("token", [-1, 10**6, 2**31 - 1])
def test_ids_outside_the_vocabulary(tiny_model: Path, token: int) -> None:
    with Model(tiny_model, vocab_only=True) as model:
        for call in (
            model.vocabulary.piece,
            model.vocabulary.special_piece,
            lambda token: model.vocabulary.detokenize([token]),
        ):
            with pytest.raises(UsageError, match="not in the vocabulary"):
                call(token)


@pytest.mark.parametrize("text", ["", "plain", " spaces  and\ttabs\n", "naïve 日本語 🏠👨‍👩‍👧", "\x00\x01\x7f", "<|im_end|>"])
def test_round_trip(tiny_model: Path, text: str) -> None:
    with Model(tiny_model, vocab_only=True) as model:
        assert model.vocabulary.detokenize(model.vocabulary.tokenize(text)).decode() == text


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"ab", b"c"], ["ab", "c", ""]),
        (["é".encode()[:1], "é".encode()[1:]], ["", "é", ""]),
        (["🏠".encode()[:3]], ["", "\ufffd"]),
        ([b"\xff", b"a"], ["\ufffd", "a", ""]),
    ],
)
def test_only_whole_characters_leave(pieces: list[bytes], expected: list[str]) -> None:
    stream = TextStream()
    assert [*[stream.feed(piece) for piece in pieces], stream.finish()] == expected


@pytest.mark.parametrize(
    ("stops", "pieces", "shown", "stop"),
    [
        (("END",), ["one E", "ND two"], "one ", "END"),
        (("END",), ["one EN", "X two"], "one ENX two", None),
        (("END",), ["one EN"], "one EN", None),
        (("aab",), ["aaa", "ab"], "aa", "aab"),
        (("\n\n", "stop"), ["a\n", "b\n", "\nc stop"], "a\nb", "\n\n"),
        (("x", "abcx"), ["abc", "x"], "", "abcx"),
        (("é",), ["caf", "é!"], "caf", "é"),
    ],
)
def test_stop_texts(stops: tuple[str, ...], pieces: list[str], shown: str, stop: str | None) -> None:
    for size in (1, 2, 100):
        stream = TextStream(stops)
        text = ""
        for data in (part.encode() for part in pieces):
            for start in range(0, len(data), size):
                if stream.stop is None:
                    text += stream.feed(data[start : start + size])
        assert (text + stream.finish(), stream.stop) == (shown, stop)
