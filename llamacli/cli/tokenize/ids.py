"""Token ids as users and programs write them: numbers separated by spaces or commas, and JSON lists."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator

from llamacli.errors import UsageError

_LONGEST_WORD = 40
_WORDS = re.compile(rb"[\[\]\n]|[^\s,\[\]]+")
_SEPARATORS = tuple(bytes((code,)) for code in b" \t\n\r\v\f,[]")


def read_ids(blocks: Iterable[bytes], name: str) -> Iterator[array[int] | None]:
    """Yield the ids of each text as soon as it ends: at a newline outside of brackets, or with the last block.

    An empty block, before one that has to wait, yields None.

    Raises:
        UsageError: if a word is not an id or a bracket has no partner. The message has the offset in `name`.
    """
    reader = _Reader(name)
    for block in blocks:
        if block:
            yield from reader.read(block)
        else:
            yield None
    yield from reader.finish()


class _Reader:
    """`_rest` is the last word, perhaps incomplete, from byte `_start` on. `_list` is the offset of the outermost open list."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""
        self._start = self._depth = self._list = 0
        self._ids: array[int] = array("i")

    def read(self, block: bytes) -> Iterator[array[int]]:
        data = self._rest + block
        cut = max(data.rfind(separator) for separator in _SEPARATORS) + 1
        if len(data) - cut > _LONGEST_WORD:
            self._id(data[cut:], cut)  # refused before it fills the memory
        yield from self._texts(data[:cut])
        self._rest = data[cut:]
        self._start += cut

    def finish(self) -> Iterator[array[int]]:
        yield from self._texts(self._rest + b"\n")
        if self._depth:
            raise UsageError(f"the list at offset {self._list:,} of {self._name} is not closed")

    def _texts(self, data: bytes) -> Iterator[array[int]]:
        for match in _WORDS.finditer(data):
            word = match[0]
            if word == b"[":
                self._list = self._list if self._depth else self._start + match.start()
                self._depth += 1
            elif word == b"]":
                if not self._depth:
                    raise UsageError(f"the ] at offset {self._start + match.start():,} of {self._name} closes no list")
                self._depth -= 1
            elif word != b"\n":
                self._ids.append(self._id(word, match.start()))
            elif not self._depth and self._ids:
                yield self._ids
                self._ids = array("i")

    def _id(self, word: bytes, position: int) -> int:
        is_number = len(word) <= _LONGEST_WORD and word.removeprefix(b"-").isdigit()  # int() alone takes 1_000 and +1, too
        if is_number and 0 <= (value := int(word)) < 2**31:
            return value
        shown = word[:_LONGEST_WORD].decode("utf-8", "surrogateescape")
        what = f"token {shown} is not in any vocabulary" if is_number else f"'{shown}' is not a token id"
        raise UsageError(f"{what} (at offset {self._start + position:,} of {self._name})")
