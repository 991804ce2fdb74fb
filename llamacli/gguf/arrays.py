"""Reads the arrays that the header reader left in the file, in pieces of bounded size."""

from __future__ import annotations

import array
import itertools
import struct
import sys
from collections.abc import Iterator

from llamacli.gguf.cursor import WINDOW, Cursor
from llamacli.gguf.header import Header, Lazy
from llamacli.gguf.layout import VALUE_FORMATS, VALUE_SIZES, ValueType
from llamacli.gguf.source import Source

PIECE = 1 << 16
"""Numbers read at a time."""


def read_bytes(source: Source, lazy: Lazy) -> Iterator[bytes]:
    """A long text, or an array of numbers, as it lies in the file, in pieces."""
    for offset in range(lazy.offset, lazy.offset + lazy.size, PIECE * 8):
        yield source.read(offset, min(PIECE * 8, lazy.offset + lazy.size - offset))


def read_strings(source: Source, header: Header, lazy: Lazy) -> Iterator[bytes]:
    """The strings of an array, one at a time. Raises ModelFileError if the file changed since the header was read."""
    return itertools.chain.from_iterable(read_string_lists(source, header, lazy))


def read_string_lists(source: Source, header: Header, lazy: Lazy) -> Iterator[list[bytes]]:
    """The strings of an array, as many at a time as a window holds, which is faster than one by one."""
    length_at = struct.Struct(header.byte_order + "Q").unpack_from
    place, end, left = lazy.offset, lazy.offset + lazy.size, lazy.count
    while left:
        window = source.read(place, min(WINDOW, end - place))
        size = len(window)
        index = 0
        strings: list[bytes] = []
        while index + 8 <= size and len(strings) < left:
            stop = index + 8 + length_at(window, index)[0]
            if stop > size:
                break
            strings.append(window[index + 8 : stop])
            index = stop
        if not strings:  # the next string is longer than the window
            cursor = Cursor(source)
            cursor.set_byte_order(header.byte_order)
            cursor.seek(place)
            strings.append(cursor.take(min(cursor.length("a string"), lazy.size), "a string"))
            index = cursor.offset - place
        yield strings
        place += index
        left -= len(strings)


def read_numbers(source: Source, header: Header, lazy: Lazy) -> Iterator[int | float | bool]:
    """The numbers or truth values of an array, one at a time."""
    if lazy.element is None:
        raise TypeError("a text has no elements")
    size = VALUE_SIZES[lazy.element]
    code = VALUE_FORMATS[lazy.element]
    swap = (header.byte_order == ">") != (sys.byteorder == "big")
    for offset in range(lazy.offset, lazy.offset + lazy.size, PIECE * size):
        data = source.read(offset, min(PIECE * size, lazy.offset + lazy.size - offset))
        if lazy.element == ValueType.BOOL:
            yield from map(bool, data)
            continue
        numbers = array.array(code, data[: len(data) // size * size])
        if swap:
            numbers.byteswap()
        yield from numbers


def read_integers(source: Source, header: Header, lazy: Lazy, limit: int) -> list[int]:
    """The first `limit` elements of an array of whole numbers or truth values; nothing if it holds something else."""
    if lazy.element in (None, ValueType.STRING, ValueType.FLOAT32, ValueType.FLOAT64):
        return []
    return [int(number) for number in itertools.islice(read_numbers(source, header, lazy), limit)]


def read_array(source: Source, header: Header, lazy: Lazy, limit: int | None = None) -> list[int | float | bool | str]:
    """The first `limit` elements of an array, or all. Text that is not UTF-8 keeps its bytes as surrogates."""
    if lazy.element == ValueType.STRING:
        strings = itertools.islice(read_strings(source, header, lazy), limit)
        return [string.decode(errors="surrogateescape") for string in strings]
    return list(itertools.islice(read_numbers(source, header, lazy), limit))
