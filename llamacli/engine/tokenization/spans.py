"""The bytes of the text that each token represents.

With most vocabularies the pieces of the tokens are the text, byte for byte. For those that normalize (lower case, no accents,
merged white space, unknown tokens), pieces and text are compared without case, accents and compatibility forms. Where even that
fails, a token has no span.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate

from llamacli.binding.enums import llama_token_attr
from llamacli.engine.tokenization.documents import Chunk, TokenTable

_UNKNOWN = llama_token_attr.LLAMA_TOKEN_ATTR_UNKNOWN | llama_token_attr.LLAMA_TOKEN_ATTR_CONTROL

_CUT_OUT = (
    llama_token_attr.LLAMA_TOKEN_ATTR_CONTROL
    | llama_token_attr.LLAMA_TOKEN_ATTR_USER_DEFINED
    | llama_token_attr.LLAMA_TOKEN_ATTR_UNKNOWN
)

Span = tuple[int, int]
"""Byte offsets in the document, from and to."""


class Spans:
    """The spans of tokens. Caches pieces and attributes of the vocabulary."""

    def __init__(self, vocabulary: TokenTable) -> None:
        self._vocabulary = vocabulary
        self._pieces: dict[int, bytes] = {}
        self._attributes: dict[int, int] = {}

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token, of a control token as it is written in templates."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._vocabulary.special_piece(token)
        return known

    def of(self, chunk: Chunk) -> Sequence[Span | None]:
        """Return a span for each token of the chunk, empty for tokens without text."""
        start, data = chunk.part.start, chunk.part.data
        middle = chunk.tokens[chunk.lead : len(chunk.tokens) - chunk.tail]
        ends = self._exact_ends(middle, data, added_space=chunk.has_added_space)
        spans: list[Span | None] = [(start, start)] * chunk.lead
        if ends is not None:
            spans.extend((start + left, start + right) for left, right in zip([0, *ends], ends, strict=False))
        else:
            spans.extend(self._followed(middle, data.decode(), start))
        return [*spans, *[(start + len(data), start + len(data))] * chunk.tail]

    def _exact_ends(self, tokens: array[int], data: bytes, *, added_space: bool) -> list[int] | None:
        """Return the end of each piece if the pieces are the text, else None."""
        pieces = [self.piece(token) for token in tokens]
        if b"".join(pieces) == data:
            return list(accumulate(map(len, pieces)))
        if not added_space:
            return None
        added, position, ends = True, 0, []
        for token, piece in zip(tokens, pieces, strict=True):
            cut_out = is_cut_out(self._vocabulary, token, self._attributes)
            text = piece.removeprefix(b" ") if added and not cut_out else piece
            if not data.startswith(text, position):
                return None
            position += len(text)
            ends.append(position)
            added = cut_out
        return ends if position == len(data) else None

    def _followed(self, tokens: Sequence[int], text: str, start: int) -> Iterator[Span | None]:
        """Yield spans by comparing folded characters. An unknown token extends to the start of the next known one."""
        walk = _Walk(text, start)
        wanted = [_folded(self.piece(token)) for token in tokens]
        following: list[str | None] = [None] * len(tokens)
        for number in range(len(tokens) - 1, 0, -1):
            following[number - 1] = following[number] if self._may_be_unknown(tokens[number]) else wanted[number]
        for token, folded, later in zip(tokens, wanted, following, strict=True):
            span = walk.take(folded)
            yield walk.unknown(later) if span is None and self._may_be_unknown(token) else span

    def _may_be_unknown(self, token: int) -> bool:
        """Return whether a token may be the unknown one, as which a control token counts, because plain text has no others."""
        if token not in self._attributes:
            self._attributes[token] = self._vocabulary.attribute(token)
        return bool(self._attributes[token] & _UNKNOWN)


def is_cut_out(vocabulary: TokenTable, token: int, known: dict[int, int]) -> bool:
    """Return whether a token is cut out of texts before they are tokenized. `known` caches attributes."""
    if token not in known:
        known[token] = vocabulary.attribute(token)
    return bool(known[token] & _CUT_OUT)


class _Walk:
    """A position in a text that only advances. `_index` counts characters, `_offset` bytes in the document."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._index = 0
        self._offset = start
        self._pending = ""
        self._last: Span = (start, start)

    def take(self, folded: str) -> Span | None:
        """Advance over characters that fold to `folded`, and return their span. Return None, without advancing, if none do."""
        saved = (self._index, self._offset, self._pending)
        begin = self._offset
        got = self._pending
        if got:  # the rest of a character that several tokens share
            begin = self._last[0]
        else:
            self._skip_empty()
            begin = self._offset
        while len(got) < len(folded) and self._index < len(self._text):
            got += self._step()
        if not got.startswith(folded):
            self._index, self._offset, self._pending = saved
            return None
        self._pending = got[len(folded) :]
        self._last = (begin, self._offset)
        return self._last

    def unknown(self, following: str | None) -> Span:
        """Advance to the start of `following`, or to the end of the word or the text, and return the span."""
        self._pending = ""
        self._skip_empty()
        begin = self._offset
        while self._index < len(self._text) and not self._text[self._index].isspace():
            if self._offset > begin and following and self._ahead(len(following)).startswith(following):
                break
            self._step()
        self._last = (begin, self._offset)
        return self._last

    def _ahead(self, length: int) -> str:
        got, index = "", self._index
        while len(got) < length and index < len(self._text):
            got += _folded_character(self._text[index])
            index += 1
        return got

    def _skip_empty(self) -> None:
        while self._index < len(self._text) and not _folded_character(self._text[self._index]):
            self._step()

    def _step(self) -> str:
        character = self._text[self._index]
        self._index += 1
        self._offset += len(character.encode())
        return _folded_character(character)


def _folded(piece: bytes) -> str:
    return "".join(map(_folded_character, piece.decode("utf-8", "replace")))


def _folded_character(character: str) -> str:
    """Return a character without case, accents, compatibility forms and white space."""
    if character.isascii():
        return character.lower().strip() if character.isprintable() else ""
    return "".join(
        part.lower()
        for part in unicodedata.normalize("NFKD", character)
        if not unicodedata.combining(part) and not part.isspace() and unicodedata.category(part) not in ("Cc", "Cf")
    )
