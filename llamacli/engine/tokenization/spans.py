"""Which bytes of the text each token stands for.

With most vocabularies the pieces of the tokens are the text, byte for byte. Those that normalize (lower case, no accents, white
space merged, unknown tokens) are followed through the text by comparing what is left of both when case, accents and
compatibility forms are taken away; where even that fails, a token has no span.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate

from llamacli.binding.enums import llama_token_attr
from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.engine.tokenization.tokenizer import Chunk, is_cut_out

_UNKNOWN = llama_token_attr.LLAMA_TOKEN_ATTR_UNKNOWN | llama_token_attr.LLAMA_TOKEN_ATTR_CONTROL

Span = tuple[int, int]
"""From a byte offset in the document to another."""


class Spans:
    """Finds spans, and remembers what it looked up of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._pieces: dict[int, bytes] = {}
        self._attributes: dict[int, int] = {}

    def piece(self, token: int) -> bytes:
        """The bytes of a token; a control token as it is written in templates."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._vocabulary.special_piece(token)
        return known

    def of(self, chunk: Chunk) -> Sequence[Span | None]:
        """A span for each token of the chunk. Tokens that stand for no text have an empty one."""
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
        """Where each piece ends if the pieces are the text; None if they are not."""
        pieces = [self.piece(token) for token in tokens]
        if b"".join(pieces) == data:
            return list(accumulate(map(len, pieces)))
        if not added_space:
            return None
        added, place, ends = True, 0, []
        for token, piece in zip(tokens, pieces, strict=True):
            cut_out = is_cut_out(self._vocabulary, token, self._attributes)
            text = piece.removeprefix(b" ") if added and not cut_out else piece
            if not data.startswith(text, place):
                return None
            place += len(text)
            ends.append(place)
            added = cut_out
        return ends if place == len(data) else None

    def _followed(self, tokens: Sequence[int], text: str, start: int) -> Iterator[Span | None]:
        """Spans by comparing folded characters. An unknown token reaches to where the next known one begins."""
        walk = _Walk(text, start)
        wanted = [_folded(self.piece(token)) for token in tokens]
        following: list[str | None] = [None] * len(tokens)
        for number in range(len(tokens) - 1, 0, -1):
            following[number - 1] = following[number] if self._may_be_unknown(tokens[number]) else wanted[number]
        for token, folded, later in zip(tokens, wanted, following, strict=True):
            span = walk.take(folded)
            yield walk.unknown(later) if span is None and self._may_be_unknown(token) else span

    def _may_be_unknown(self, token: int) -> bool:
        """In plain text, a control token can only be the unknown one; some files give that no type of its own."""
        if token not in self._attributes:
            self._attributes[token] = self._vocabulary.attribute(token)
        return bool(self._attributes[token] & _UNKNOWN)


class _Walk:
    """A place in a text that only goes forward. `_place` counts characters, `_offset` bytes in the document."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._place = 0
        self._offset = start
        self._pending = ""
        self._last: Span = (start, start)

    def take(self, folded: str) -> Span | None:
        """The span of characters that fold to `folded`; None, and no step, if they do not."""
        saved = (self._place, self._offset, self._pending)
        begin = self._offset
        got = self._pending
        if got:  # the rest of a character that several tokens share
            begin = self._last[0]
        else:
            self._skip_empty()
            begin = self._offset
        while len(got) < len(folded) and self._place < len(self._text):
            got += self._step()
        if not got.startswith(folded):
            self._place, self._offset, self._pending = saved
            return None
        self._pending = got[len(folded) :]
        self._last = (begin, self._offset)
        return self._last

    def unknown(self, following: str | None) -> Span:
        """The span of an unknown token: up to where `following` begins, or to the end of the word or the text."""
        self._pending = ""
        self._skip_empty()
        begin = self._offset
        while self._place < len(self._text) and not self._text[self._place].isspace():
            if self._offset > begin and following and self._ahead(len(following)).startswith(following):
                break
            self._step()
        self._last = (begin, self._offset)
        return self._last

    def _ahead(self, length: int) -> str:
        got, place = "", self._place
        while len(got) < length and place < len(self._text):
            got += _folded_character(self._text[place])
            place += 1
        return got

    def _skip_empty(self) -> None:
        while self._place < len(self._text) and not _folded_character(self._text[self._place]):
            self._step()

    def _step(self) -> str:
        character = self._text[self._place]
        self._place += 1
        self._offset += len(character.encode())
        return _folded_character(character)


def _folded(piece: bytes) -> str:
    return "".join(map(_folded_character, piece.decode("utf-8", "replace")))


def _folded_character(character: str) -> str:
    """What is left of a character without case, accents, compatibility forms and white space."""
    if character.isascii():
        return character.lower().strip() if character.isprintable() else ""
    return "".join(
        part.lower()
        for part in unicodedata.normalize("NFKD", character)
        if not unicodedata.combining(part) and not part.isspace() and unicodedata.category(part) not in ("Cc", "Cf")
    )
