"""Checks of the tokens: what makes llama.cpp abort, and what is merely suspicious.

`llama_vocab` throws or asserts, past any handler, on two tokens with the same text, on a byte without a token in a vocabulary
with byte fallback, and on a byte token whose text does not name a byte.
"""

from __future__ import annotations

import array
import itertools
import math
import re
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llamacli.gguf.arrays import read_bytes, read_numbers, read_string_lists, read_strings
from llamacli.gguf.check.finding import Finding
from llamacli.gguf.check.metadata import NO_VOCABULARY
from llamacli.gguf.header import Header, Lazy
from llamacli.gguf.layout import TOKEN_TYPES, ValueType
from llamacli.gguf.source import Source
from llamacli.gguf.text import printable

MAX_SIZE = 64 << 20
"""Largest size in bytes of the tokens, or of the merges. More means that the file is corrupt."""

LONG_TOKEN = 4096
"""Length in bytes from which a token is worth a warning."""

MODEL, TOKENS, TYPES, SCORES, MERGES = (
    f"tokenizer.ggml.{name}" for name in ("model", "tokens", "token_type", "scores", "merges")
)

_BYTE_TOKEN = 6
_BYTE_TEXT = re.compile(rb"<0x[0-9A-Fa-f]{2}>")
_FALLS_BACK_TO_BYTES = ("llama", "plamo2")
_NO_BYTE_TOKENS = ("bert",)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The result of one pass over a vocabulary. `lazy` is the array of texts, `texts` the set of them, `types` the token types.

    `repeated`, `odd_byte` and `first_escape` are the numbers of the first token whose text is a duplicate, that is a byte token
    without a byte, and that has an escape character; else None. `longest` is the number of the longest token. `empty` and
    `escapes` count empty tokens and tokens with an escape character.
    """

    header: Header
    lazy: Lazy
    texts: set[bytes]
    types: array.array[int]
    repeated: int | None
    odd_byte: int | None
    first_escape: int | None
    longest: int
    empty: int
    escapes: int


def read_tokens(source: Source, header: Header) -> Tokens | Finding | None:
    """Return the vocabulary; None if the file has none that can be read, or a finding if it is too large."""
    tokens, types = header.array(TOKENS), header.array(TYPES)
    if header.text(MODEL) in NO_VOCABULARY or tokens is None or tokens.element != ValueType.STRING:
        return None
    if tokens.size > MAX_SIZE:
        return Finding("error", f"key {TOKENS}", f"has {tokens.size} bytes of tokens, more than {MAX_SIZE}", tokens.offset)
    kinds = array.array("i")
    if types and types.element == ValueType.INT32 and types.count <= tokens.count:
        for piece in read_bytes(source, types):
            kinds.frombytes(piece[: len(piece) // 4 * 4])
        if (header.byte_order == ">") != (sys.byteorder == "big"):
            kinds.byteswap()
    return _scan(source, header, tokens, kinds)


def _scan(source: Source, header: Header, lazy: Lazy, types: array.array[int]) -> Tokens:
    """Read the tokens in one pass, list by list, and examine only lists with something to report: every load waits for this."""
    texts: set[bytes] = set()
    byte_tokens = [number for number, kind in enumerate(types) if kind == _BYTE_TOKEN] if _BYTE_TOKEN in types else []
    no_bytes = header.text(MODEL) in _NO_BYTE_TOKENS
    repeated = odd_byte = first_escape = None
    start = longest = most = empty = escapes = 0
    for some in read_string_lists(source, header, lazy):
        known = len(texts)
        blank = some.count(b"")  # llama.cpp renames empty tokens
        texts.update(some)
        texts.discard(b"")
        if repeated is None and len(texts) != known + len(some) - blank:
            repeated = _first_repeated(source, header, lazy)
        for number in byte_tokens[bisect_left(byte_tokens, start) : bisect_left(byte_tokens, start + len(some))]:
            if odd_byte is None and (no_bytes or not _BYTE_TEXT.fullmatch(some[number - start])):
                odd_byte = number
        longest_here = max(some, key=len)
        if len(longest_here) > most:
            longest, most = start + some.index(longest_here), len(longest_here)
        if b"\x1b" in b"".join(some):
            hits = [number for number, text in enumerate(some) if b"\x1b" in text and len(text) > 1]
            first_escape = start + hits[0] if hits and first_escape is None else first_escape
            escapes += len(hits)
        empty += blank
        start += len(some)
    return Tokens(header, lazy, texts, types, repeated, odd_byte, first_escape, longest, empty, escapes)


def _first_repeated(source: Source, header: Header, lazy: Lazy) -> int | None:
    """Return the number of the first token with a duplicate text."""
    seen: set[bytes] = set()
    for number, text in enumerate(read_strings(source, header, lazy)):
        if text and text in seen:
            return number
        seen.add(text)
    return None


def fatal_findings(tokens: Tokens, source: Source) -> Iterator[Finding]:
    """Yield what makes llama.cpp abort."""
    subject, at = f"key {TOKENS}", tokens.lazy.offset
    if tokens.repeated is not None:
        text = _text(tokens, source, tokens.repeated)
        first = next(number for number, other in enumerate(read_strings(source, tokens.header, tokens.lazy)) if other == text)
        yield Finding("error", subject, f"tokens {first} and {tokens.repeated} are both {_shown(text)}", at)
    if tokens.odd_byte is not None:
        text = _text(tokens, source, tokens.odd_byte)
        yield Finding("error", subject, f"token {tokens.odd_byte} has the type of a byte, but its text is {_shown(text)}", at)
    model = tokens.header.text(MODEL)
    if model in _FALLS_BACK_TO_BYTES:
        missing = [byte for byte in range(256) if b"<0x%02X>" % byte not in tokens.texts]
        if model == "llama":
            missing = [byte for byte in missing if bytes([byte]) not in tokens.texts]
        if missing:
            yield Finding("error", subject, f"{len(missing)} bytes have no token, the first is {missing[0]}", at)


def odd_findings(tokens: Tokens, source: Source) -> Iterator[Finding]:
    """Yield what llama.cpp accepts, but should not be in a vocabulary."""
    subject, at = f"key {TOKENS}", tokens.lazy.offset
    if tokens.empty:
        yield Finding("note", subject, f"{tokens.empty} tokens are empty", at)
    if tokens.escapes:
        yield Finding(
            "note", subject, f"{tokens.escapes} tokens have an escape character, the first is {tokens.first_escape}", at
        )
    length = len(_text(tokens, source, tokens.longest)) if tokens.texts else 0
    if length > LONG_TOKEN:
        yield Finding("warning", subject, f"token {tokens.longest} is {length} bytes long", at)
    types, scores = tokens.header.array(TYPES), tokens.header.array(SCORES)
    if types:
        unknown = Counter(kind for kind in tokens.types if kind not in TOKEN_TYPES)
        for kind, count in unknown.most_common(3):
            yield Finding("warning", f"key {TYPES}", f"{count} tokens have the unknown type {kind}", types.offset)
    if scores and scores.element == ValueType.FLOAT32:
        bad = sum(1 for score in read_numbers(source, tokens.header, scores) if not math.isfinite(score))
        if bad:
            yield Finding("warning", f"key {SCORES}", f"{bad} scores are not finite", scores.offset)
    yield from _merge_findings(tokens, source)


def _text(tokens: Tokens, source: Source, number: int) -> bytes:
    return next(itertools.islice(read_strings(source, tokens.header, tokens.lazy), number, None))


def _shown(text: bytes) -> str:
    return repr(printable(text.decode(errors="surrogateescape"), 40))


def _merge_findings(tokens: Tokens, source: Source) -> Iterator[Finding]:
    merges = tokens.header.array(MERGES)
    subject = f"key {MERGES}"
    if merges is None or merges.element != ValueType.STRING:
        if tokens.header.text(MODEL) in ("gpt2", "gemma4"):
            yield Finding("error", subject, "missing, but a BPE vocabulary requires it")
        return
    if merges.size > MAX_SIZE:
        yield Finding("error", subject, f"has {merges.size} bytes of merges, more than {MAX_SIZE}", merges.offset)
        return
    broken = 0
    unknown = 0
    for merge in read_strings(source, tokens.header, merges):
        first, space, second = merge[1:].partition(b" ")
        broken += not space
        unknown += bool(space) and merge[:1] + first + second not in tokens.texts
    if broken:
        yield Finding("warning", subject, f"{broken} merges are not two texts separated by a space", merges.offset)
    if unknown:
        yield Finding("warning", subject, f"{unknown} merges result in a text that is not a token", merges.offset)
