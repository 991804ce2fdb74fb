"""Texts and vocabularies for the tests of tokenization."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import tiny

VOCABULARIES = sorted((Path(__file__).parents[2] / "vendor/llama.cpp/models").glob("ggml-vocab-*.gguf"))

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dogs",
    "IMGIMG",
    "IMGIMGAABZ",
    "don't",
    "I'LL",
    "we've",
    "it's",
    "He'd",
    "HelloWorld",
    "camelCase",
    "x",
    "y",
    "z",
    "A",
    "B",
    "naïve",
    "Straße",
    "été",
    "Привет",
    "мир",
    "Ελλάδα",
    "שלום",
    "مرحبا",
    "العالم",
    "नमस्ते",
    "दुनिया",
    "สวัสดี",
    "日本語",
    "これはテスト",
    "你好世界",
    "한국어",
    "문장",
    "é",
    "äo",
    "0",
    "7",
    "42",
    "123",
    "4567",
    "1234567",
    "3.14",
    "1,000,000",
    "0xFF",
    "①",
    "Ⅷ",
    "½",
    "٣",
    "५",
    "foo_bar",
    "--flag",
    "a/b/c",
    "</s>",
    "<|im_end|>",
    "<mask>",
    "<dna>ACGT</dna>",
    "<unk>",
    "<sentinel:12>",
    "😀",
    "👨\u200d👩\u200d👧",
    "▁",
    "▁▁",
    "ſ",
    "ﬁ",
    "Ａ",
    "＝",
    "㎏",
    "#",
    "$",
    "%",
    "&",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "+",
    "=",
    "<",
    ">",
    "~",
    "|",
    "\\",
    "`",
    "^",
    "@",
    "*",
    '"',
    "'",
    "“",
    "”",
    "«",
    "»",
    "…",
    "—",
    "።",
    "،",
    "۔",
    "।",
    "！",
    "？",
    "：",
    "；",
]  # a list of a hundred lines
SPACES = (" ",) * 12 + (
    "",
    "",
    "  ",
    "   ",
    "    ",
    "\n",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\t\t",
    " \n",
    "\n ",
    "\n  ",
    " " * 30,
    "\n" * 9,
)
SPACES += ("\u00a0", "\u3000", "\u2028", "\x0b", "\x85", "\ufeff", "\u200b", "\x00", "\x1b", "\x7f")
MARKS = (
    "",
    "",
    "",
    "",
    ",",
    ".",
    "!",
    "?",
    "，",
    "。",
    "、",
    "...",
    ",,",
    "?!",
    ".\n",
    "。\n",
    "!\n",
    ",\n",
    ":",
    ";",
    "/",
    "\n/",
    "-",
)


def text(draw: random.Random, words: int) -> str:
    """A text of every script, with every kind of white space and punctuation."""
    kinds: Sequence[str] = draw.choice((WORDS, WORDS, draw.sample(WORDS, 6)))
    return "".join(draw.choice(kinds) + draw.choice(MARKS) + draw.choice(SPACES) for _ in range(words))


def hostile(size: int) -> dict[str, str]:
    """Texts of about `size` bytes that have bitten tokenizers."""
    return {
        "one letter": "a" * size,
        "one capital": "A" * size,
        "spaces": " " * size,
        "newlines": "\n" * size,
        "digits": "1" * size,
        "combining marks": "\u0301" * (size // 2),
        "emoji": "😀" * (size // 4),
    }


CROSSING = (
    "e Ġ", "eĠ t", "t Ġ", "s Ċ", "e Ċ", "Ċ t", "Ċ a", ", Ġ", "e ,", "s ,", "a .", "o ,", ". Ċ", ".Ċ a", "d Ġ", "1 ,", "2 Ġ",
    "7 .", "Ġ 4",
    "e Ġt", "n Ġ", "y Ġ", "k Ġ", "r Ċ", "3 Ċ", "Ċ 1", "x 1", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ",
)  # fmt: skip
"""Merges over what a splitting expression keeps apart: a wrong cut shows in the tokens."""


def crossing_vocabulary(pre: str, **other: object) -> tiny.Vocabulary:
    """A BPE vocabulary with a pre-tokenizer, of which the merges would join anything."""
    base = tiny.default_vocabulary(merges=tuple(dict.fromkeys((*CROSSING, *tiny.MERGES))))
    return tiny.Vocabulary(base.tokens, base.types, merges=base.merges, pre=pre, **other)  # type: ignore[arg-type]
