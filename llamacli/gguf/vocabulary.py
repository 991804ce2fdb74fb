"""The tokens themselves: what would abort llama.cpp, and what is merely odd.

`llama_vocab` throws or asserts, past any handler, when two tokens have the same text, when a byte has no token in a vocabulary
that falls back to bytes, and when a byte token's text does not say which byte it is.
"""

from __future__ import annotations

import array
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llamacli.gguf.arrays import read_bytes, read_numbers, split_strings
from llamacli.gguf.header import Header, Lazy
from llamacli.gguf.layout import TOKEN_TYPES, ValueType
from llamacli.gguf.soundness import NO_VOCABULARY, Finding
from llamacli.gguf.source import Source
from llamacli.gguf.text import printable

MAX_SIZE = 64 << 20
"""Bytes of token texts or of merges that are read; more is taken for damage."""

TOKENS, TYPES, SCORES, MERGES = (f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "scores", "merges"))

_BYTE_TOKEN = 6
_BYTE_TEXT = re.compile(rb"<0x[0-9A-Fa-f]{2}>")
_FALLS_BACK_TO_BYTES = ("llama", "plamo2")
_NO_BYTE_TOKENS = ("bert",)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A vocabulary read from its file: the text and the type of each token. `lazy` is where the texts lie."""

    header: Header
    lazy: Lazy
    texts: list[bytes]
    types: array.array[int]


def read_tokens(source: Source, header: Header) -> Tokens | Finding | None:
    """The vocabulary; None if the file has none that can be read, a finding if it is too large."""
    tokens, types = header.array(TOKENS), header.array(TYPES)
    if header.text("tokenizer.ggml.model") in NO_VOCABULARY or tokens is None or tokens.element != ValueType.STRING:
        return None
    if tokens.size > MAX_SIZE:
        return Finding("error", f"key {TOKENS}", f"{tokens.size} bytes of tokens", tokens.offset)
    numbers = array.array("i")
    if types and types.element == ValueType.INT32 and types.count <= tokens.count:
        for piece in read_bytes(source, types):
            numbers.frombytes(piece[: len(piece) // 4 * 4])
        if (header.byte_order == ">") != (sys.byteorder == "big"):
            numbers.byteswap()
    return Tokens(header, tokens, split_strings(source, header, tokens), numbers)


def fatal_findings(tokens: Tokens) -> Iterator[Finding]:
    """What llama.cpp would not survive."""
    yield from _duplicates(tokens)
    model = tokens.header.text("tokenizer.ggml.model")
    place = f"key {TOKENS}"
    if tokens.types.count(_BYTE_TOKEN):
        for number, (kind, text) in enumerate(zip(tokens.types, tokens.texts, strict=False)):
            if kind == _BYTE_TOKEN and (model in _NO_BYTE_TOKENS or not _BYTE_TEXT.fullmatch(text)):
                shown = printable(text.decode(errors="surrogateescape"), 40)
                yield Finding("error", place, f"token {number} is said to be a byte, but is {shown!r}", tokens.lazy.offset)
                break
    if model in _FALLS_BACK_TO_BYTES:
        texts = set(tokens.texts)
        missing = [byte for byte in range(256) if b"<0x%02X>" % byte not in texts]
        if model == "llama":
            missing = [byte for byte in missing if bytes([byte]) not in texts]
        if missing:
            yield Finding("error", place, f"no token for {len(missing)} bytes, the first is {missing[0]}", tokens.lazy.offset)


def odd_findings(tokens: Tokens, source: Source) -> Iterator[Finding]:
    """What llama.cpp accepts, and should not be there."""
    place = f"key {TOKENS}"
    empty = tokens.texts.count(b"")
    if empty:
        yield Finding("note", place, f"{empty} tokens are empty", tokens.lazy.offset)
    escapes = [number for number, text in enumerate(tokens.texts) if b"\x1b" in text and len(text) > 1]
    if escapes:
        message = f"{len(escapes)} tokens with an escape character, the first is {escapes[0]}"
        yield Finding("note", place, message, tokens.lazy.offset)
    longest = max(tokens.texts, key=len, default=b"")
    if len(longest) > 4096:
        message = f"token {tokens.texts.index(longest)} is {len(longest)} bytes long"
        yield Finding("warning", place, message, tokens.lazy.offset)
    types, scores = tokens.header.array(TYPES), tokens.header.array(SCORES)
    if types:
        unknown = Counter(kind for kind in tokens.types if kind not in TOKEN_TYPES)
        for kind, count in unknown.most_common(3):
            yield Finding("warning", f"key {TYPES}", f"{count} tokens of type {kind}", types.offset)
    if scores and scores.element == ValueType.FLOAT32:
        bad = sum(1 for score in read_numbers(source, tokens.header, scores) if not math.isfinite(score))
        if bad:
            yield Finding("warning", f"key {SCORES}", f"{bad} scores are not finite", scores.offset)
    yield from _merge_findings(tokens, source)


def _duplicates(tokens: Tokens) -> Iterator[Finding]:
    texts = tokens.texts
    if len(set(texts)) == len(texts):
        return
    seen: dict[bytes, int] = {}
    for number, text in enumerate(texts):
        if text and text in seen:  # llama.cpp gives empty tokens names of their own
            shown = printable(text.decode(errors="surrogateescape"), 40)
            message = f"tokens {seen[text]} and {number} are both {shown!r}"
            yield Finding("error", f"key {TOKENS}", message, tokens.lazy.offset)
            return
        seen[text] = number


def _merge_findings(tokens: Tokens, source: Source) -> Iterator[Finding]:
    merges = tokens.header.array(MERGES)
    place = f"key {MERGES}"
    if merges is None or merges.element != ValueType.STRING:
        if tokens.header.text("tokenizer.ggml.model") in ("gpt2", "gemma4"):
            yield Finding("error", place, "missing, and a BPE vocabulary needs it")
        return
    if merges.size > MAX_SIZE:
        yield Finding("error", place, f"{merges.size} bytes of merges", merges.offset)
        return
    texts = set(tokens.texts)
    broken = 0
    unknown = 0
    for merge in split_strings(source, tokens.header, merges):
        first, space, second = merge[1:].partition(b" ")
        broken += not space
        unknown += bool(space) and merge[:1] + first + second not in texts
    if broken:
        yield Finding("warning", place, f"{broken} merges are not two texts with a space between", merges.offset)
    if unknown:
        yield Finding("warning", place, f"{unknown} merges make a text that is no token", merges.offset)
