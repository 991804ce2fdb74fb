"""Documents for the tokenizer: read in blocks, checked to be UTF-8, and cut into parts."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from llamacli.engine.runtime.vocabulary import LONGEST
from llamacli.engine.tokenization.split_rules import Rules, character_before
from llamacli.errors import CapacityError, UsageError

BLOCK = 1 << 20
"""Bytes of one read."""

PART = 128 << 10
"""Bytes in one call of the tokenizer: enough to amortize its fixed costs, few enough for the cache."""

SMALL_PART = 4 << 10
"""Bytes in one call where llama.cpp's time is quadratic in them (`Rules.wants_small_parts`)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text that is tokenized by itself. `blocks` reads it from its beginning, in blocks of any size."""

    name: str
    blocks: Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a document from byte `start` on. `before` is the character before it, if tokenization needs it."""

    document: Document
    start: int
    data: bytes
    before: bytes = b""
    is_first: bool = True
    is_last: bool = True


def text_document(name: str, data: bytes) -> Document:
    """Return a document of text in memory."""
    return Document(name, lambda: (data,))


def utf8_blocks(blocks: Iterable[bytes], name: str, *, replace: bool = False) -> Iterator[bytes]:
    """Yield the blocks, each ending with a complete character. With `replace`, invalid UTF-8 becomes U+FFFD.

    Raises:
        UsageError: if the text is not UTF-8. The message has the offset.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace" if replace else "strict")
    offset = 0
    for block in blocks:
        if offset == 0 and not replace and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UsageError(f"{name} is UTF-16 text", hint="convert it first, for example with iconv -f UTF-16 -t UTF-8")
        held = len(decoder.getstate()[0])
        if not held and block.isascii():  # most text, and much faster
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
        location = f"byte 0x{error.object[error.start]:02x} at offset {offset + error.start:,}"
        hint = "errors=replace reads it as U+FFFD; or convert the text, for example with iconv"
        raise UsageError(f"{name} is not UTF-8 text: {location}", hint=hint, parameter="errors") from None


def parts_of(document: Document, rules: Callable[[], Rules], *, replace: bool = False) -> Iterator[Part]:
    """Yield the parts of a document, at least one. `rules` is called if the document is longer than one part.

    Raises:
        UsageError: if it is not UTF-8.
        CapacityError: if it has more than LONGEST bytes without a position where a cut is safe.
    """
    return _Cutter(document, rules).parts(utf8_blocks(document.blocks(), document.name, replace=replace))


class _Cutter:
    """Cuts a document. `_rest` is the text that is read but not in a part yet, from byte `_start` of the document on."""

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
            found = rules.last_cut(data, begin, begin + size) or rules.first_cut(data, begin, begin + size)
            if found is None:
                break
            position, needs_before = found
            self._check_length(position - begin)
            yield Part(self._document, self._start, data[begin:position], self._before, self._start == 0, is_last=False)
            self._start += position - begin
            self._before = character_before(data, position) if needs_before else b""
            begin = position
        self._rest = data[begin:]
        if not ended:
            self._check_length(len(self._rest))

    def _check_length(self, length: int) -> None:
        if length > LONGEST:
            raise CapacityError(
                f"{self._document.name} has {length:,} bytes without a position where this vocabulary allows a cut, "
                f"more than {LONGEST:,}",
                hint="line ends, spaces and commas allow cuts" if self._rules and self._rules.pattern else "split the text",
            )
