"""Documents for the tokenizer, read in blocks that are checked to be UTF-8, and the tokens of their parts.

The values here need no native library: what reads documents and what tokenizes them may be two processes.
"""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from llamacli.errors import LlamacliError, UsageError

BLOCK = 1 << 18
"""Bytes of one read."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text that is tokenized by itself. `blocks` reads it from its beginning, in blocks of any size.

    A tokenizer takes blocks that end with a complete character: those of `checked`.
    """

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


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens of one part of a document. The first `lead` and the last `tail` represent no text: BOS, EOS and the like.

    `has_added_space` is True if the first piece begins with a space that is not in the text.
    """

    part: Part
    tokens: array[int]
    lead: int = 0
    tail: int = 0
    has_added_space: bool = False


@dataclass(frozen=True, slots=True)
class NotTokenized:
    """The error that takes the place of a document, or of the rest of one."""

    document: Document
    error: LlamacliError


class TokenTable(Protocol):
    """What is known of single tokens: a vocabulary, or the part of one that has been used."""

    def special_piece(self, token: int) -> bytes:
        """Return the bytes of a token; those of control tokens as templates write them."""

    def attribute(self, token: int) -> int:
        """Return the attributes (`llama_token_attr`) of a token."""


class TextTokenizer(Protocol):
    """A tokenizer of documents. `vocabulary` knows the tokens of the chunks that it has yielded."""

    @property
    def vocabulary(self) -> TokenTable:
        """The tokens."""

    def outcomes(self, documents: Iterable[Document | None]) -> Iterator[Chunk | NotTokenized]:
        """Yield the chunks of the documents, in order; a document's error takes the place of its next chunk.

        None among the documents means that the next one has to wait, so pending chunks are yielded first.
        """


def chunks_of(tokenizer: TextTokenizer, documents: Iterable[Document]) -> Iterator[Chunk]:
    """Yield the chunks of the documents, in order. The tokens of a document's chunks are the tokens of its whole text.

    Raises:
        UsageError: if a document cannot be read or is not UTF-8.
        CapacityError: if it has a very long stretch without a position where a cut is safe.
    """
    for outcome in tokenizer.outcomes(documents):
        if isinstance(outcome, NotTokenized):
            raise outcome.error
        yield outcome


def text_document(name: str, data: bytes) -> Document:
    """Return a document of text in memory."""
    return Document(name, lambda: (data,))


def checked(document: Document, *, replace: bool = False) -> Document:
    """Return the document in blocks that end with a complete character (`utf8_blocks`)."""
    return Document(document.name, lambda: utf8_blocks(document.blocks(), document.name, replace=replace))


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
