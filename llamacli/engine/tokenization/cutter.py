"""Cutting of documents into parts, at positions where the tokens do not change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from llamacli.engine.runtime.vocabulary import LONGEST
from llamacli.engine.tokenization.documents import Document, Part
from llamacli.engine.tokenization.split_rules import Rules, character_before
from llamacli.errors import CapacityError

PART = 128 << 10
"""Bytes in one call of the tokenizer: enough to amortize its fixed costs, few enough for the cache."""

SMALL_PART = 4 << 10
"""Bytes in one call where llama.cpp's time is quadratic in them (`Rules.wants_small_parts`)."""


def parts_of(document: Document, rules: Callable[[], Rules]) -> Iterator[Part]:
    """Yield the parts of a document, at least one. `rules` is called if the document is longer than one part.

    Raises:
        CapacityError: if it has more than LONGEST bytes without a position where a cut is safe.
    """
    return _Cutter(document, rules).parts(document.blocks())


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
