"""Texts on their way to the tokenizer: documents, read in blocks, checked to be UTF-8, and cut into parts."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from llamacli.engine.runtime.vocabulary import LONGEST
from llamacli.engine.tokenization.split_rules import Rules, character_before
from llamacli.errors import CapacityError, UsageError

BLOCK = 1 << 20
"""Bytes that are read at a time."""

PART = 128 << 10
"""Bytes in one call of the tokenizer: it pays its fixed costs, and its data stays in the cache."""

SMALL_PART = 4 << 10
"""The same where llama.cpp takes steps in proportion to the square of it (`Rules.wants_small_parts`)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text to be tokenized by itself. `blocks` reads it from its beginning, in blocks of any size."""

    name: str
    blocks: Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a document from byte `start` on. `before` is the character before it, if it takes that to tokenize it."""

    document: Document
    start: int
    data: bytes
    before: bytes = b""
    is_first: bool = True
    is_last: bool = True


def text_document(name: str, data: bytes) -> Document:
    """A document in memory."""
    return Document(name, lambda: (data,))


def utf8_blocks(blocks: Iterable[bytes], name: str, *, replace: bool = False) -> Iterator[bytes]:
    """The blocks, each ending with a whole character. With `replace`, what is not UTF-8 becomes U+FFFD.

    Raises:
        UsageError: not UTF-8; the message gives the offset.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace" if replace else "strict")
    offset = 0
    for block in blocks:
        if offset == 0 and not replace and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UsageError(f"{name} is UTF-16 text", hint="convert it first, for example with iconv -f UTF-16 -t UTF-8")
        held = len(decoder.getstate()[0])
        if not held and block.isascii():  # most text, and by far faster
            offset += len(block)
            yield block
            continue
        text = _decoded(decoder, block, name, offset - held)
        offset += len(block)
        if text:
            yield text.encode()
    if rest := _decoded(decoder, b"", name, offset - len(decoder.getstate()[0]), final=True):
        yield rest.encode()


def _decoded(decoder: codecs.IncrementalDecoder, block: bytes, name: str, offset: int, *, final: bool = False) -> str:
    try:
        return decoder.decode(block, final)
    except UnicodeDecodeError as error:
        place = f"byte 0x{error.object[error.start]:02x} at offset {offset + error.start:,}"
        hint = "--errors replace reads it as U+FFFD; convert it, for example with iconv"
        raise UsageError(f"{name} is not UTF-8 text: {place}", hint=hint) from None


def parts_of(document: Document, rules: Callable[[], Rules], *, replace: bool = False) -> Iterator[Part]:
    """The parts of a document, one at least. `rules` is called once it is longer than one part.

    Raises:
        UsageError: not UTF-8.
        CapacityError: more than LONGEST bytes without a place where they may be cut.
    """
    return _Cutter(document, rules).parts(utf8_blocks(document.blocks(), document.name, replace=replace))


class _Cutter:
    """`_rest` is what has been read and not yet given away; it begins at byte `_start` of the document."""

    def __init__(self, document: Document, rules: Callable[[], Rules]) -> None:
        self._document = document
        self._make_rules = rules
        self._rules: Rules | None = None
        self._rest = b""
        self._start = 0
        self._before = b""

    def parts(self, blocks: Iterable[bytes]) -> Iterator[Part]:
        for block in blocks:
            self._rest += block
            if len(self._rest) > PART:
                yield from self._cut(ended=False)
        if len(self._rest) > PART:
            yield from self._cut(ended=True)
        self._check_length(len(self._rest))
        yield Part(self._document, self._start, self._rest, self._before, self._start == 0, is_last=True)

    def _cut(self, *, ended: bool) -> Iterator[Part]:
        rules = self._rules = self._rules or self._make_rules()
        size = SMALL_PART if rules.wants_small_parts else PART
        data, begin = self._rest, 0
        while len(data) - begin > size + (0 if ended else rules.margin):
            found = rules.last_place(data, begin, begin + size) or rules.first_place(data, begin, begin + size)
            if found is None:
                break
            place, wants_before = found
            self._check_length(place - begin)
            yield Part(self._document, self._start, data[begin:place], self._before, self._start == 0, is_last=False)
            self._start += place - begin
            self._before = character_before(data, place) if wants_before else b""
            begin = place
        self._rest = data[begin:]
        if not ended:
            self._check_length(len(self._rest))

    def _check_length(self, length: int) -> None:
        if length > LONGEST:
            raise CapacityError(
                f"{self._document.name} has {length:,} bytes without a place where this vocabulary allows a cut; at most "
                f"{LONGEST:,} are tokenized as one",
                hint="texts in lines, or with spaces and commas, have such places" if self._rules and self._rules.pattern else
                "split it yourself",
            )  # fmt: skip
