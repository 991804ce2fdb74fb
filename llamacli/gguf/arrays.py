"""Readers for the arrays that the header parser leaves in the file, in pieces of bounded size."""

from __future__ import annotations

import array
import itertools
import struct
import sys
from collections.abc import Iterator

from llamacli.gguf.header import Header, Lazy
from llamacli.gguf.layout import VALUE_FORMATS, VALUE_SIZES, ValueType
from llamacli.gguf.parser.cursor import WINDOW, Cursor
from llamacli.gguf.source import Source

PIECE = 1 << 16
"""Number of elements per read."""


def read_bytes(source: Source, lazy: Lazy) -> Iterator[bytes]:
    """Yield the raw bytes of a long string, or of an array of numbers, in pieces."""
    for offset in range(lazy.offset, lazy.offset + lazy.size, PIECE * 8):
        yield source.read(offset, min(PIECE * 8, lazy.offset + lazy.size - offset))


def read_strings(source: Source, header: Header, lazy: Lazy) -> Iterator[bytes]:
    """Yield the strings of an array as bytes, one at a time.

    Raises:
        ModelFileError: if the file changed after its header was read.
    """
    return itertools.chain.from_iterable(read_string_lists(source, header, lazy))


def read_string_lists(source: Source, header: Header, lazy: Lazy) -> Iterator[list[bytes]]:
    """Yield the strings of an array in lists of those in one window, which is faster than one by one."""
    length_at = struct.Struct(header.byte_order + "Q").unpack_from
    position, end, remaining = lazy.offset, lazy.offset + lazy.size, lazy.count
    while remaining:
        window = source.read(position, min(WINDOW, end - position))
        size = len(window)
        index = 0
        strings: list[bytes] = []
        while index + 8 <= size and len(strings) < remaining:
            stop = index + 8 + length_at(window, index)[0]
            if stop > size:
                break
            strings.append(window[index + 8 : stop])
            index = stop
        if not strings:  # the next string is longer than the window
            cursor = Cursor(source)
            cursor.set_byte_order(header.byte_order)
            cursor.seek(position)
            strings.append(cursor.take(min(cursor.length("a string"), lazy.size), "a string"))
            index = cursor.offset - position
        yield strings
        position += index
        remaining -= len(strings)


def read_numbers(source: Source, header: Header, lazy: Lazy) -> Iterator[int | float | bool]:
    """Yield the numbers or Booleans of an array, one at a time."""
    if lazy.element is None:
        raise TypeError("a string has no elements")
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
    """Return the first `limit` elements of an array of integers or Booleans; an empty list for any other array."""
    if lazy.element in (None, ValueType.STRING, ValueType.FLOAT32, ValueType.FLOAT64):
        return []
    return [int(number) for number in itertools.islice(read_numbers(source, header, lazy), limit)]


def read_array(source: Source, header: Header, lazy: Lazy, limit: int | None = None) -> list[int | float | bool | str]:
    """Return the first `limit` elements of an array, or all. Bytes that are not UTF-8 become surrogates."""
    if lazy.element == ValueType.STRING:
        strings = itertools.islice(read_strings(source, header, lazy), limit)
        return [string.decode(errors="surrogateescape") for string in strings]
    return list(itertools.islice(read_numbers(source, header, lazy), limit))
