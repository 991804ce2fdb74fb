"""Parser for the header of a GGUF file: metadata and the tensor list. Arrays and tensor data stay in the file."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from llamacli.errors import ModelFileError, ModelUnsupportedError
from llamacli.gguf.header import Entry, Header, Lazy, TensorInfo
from llamacli.gguf.layout import (
    DEFAULT_ALIGNMENT,
    MAGIC,
    MAX_DIMENSIONS,
    MAX_TENSOR_NAME,
    REMOVED_TENSOR_TYPES,
    TENSOR_TYPES,
    VALUE_FORMATS,
    VALUE_SIZES,
    TensorType,
    ValueType,
)
from llamacli.gguf.parser.cursor import Cursor
from llamacli.gguf.parser.foreign import describe_foreign
from llamacli.gguf.source import Source
from llamacli.gguf.text import printable

LONG_TEXT = 1 << 20
"""Size in bytes from which a string value (a whole tokenizer.json, for example) stays in the file, as arrays do."""

MAX_ENTRIES = 1 << 15
"""Largest number of keys, or of tensors. A higher count means that the file is corrupt."""

MAX_TEXTS = 4 << 20
"""Total size in bytes of the string values kept in memory; further ones stay in the file."""

MAX_NAMES = 4 << 20
"""Largest total size in bytes of all names. More means that the file is corrupt."""


def read_header(source: Source) -> Header:
    """Return the header of a GGUF file, with every length in it checked against the file's size.

    Raises:
        ModelFileError: if the header is corrupt; `offset` is the byte.
        ModelUnsupportedError: if llama.cpp cannot read the version or a tensor type.
    """
    return _HeaderReader(source).read()


class _HeaderReader:
    def __init__(self, source: Source) -> None:
        self.cursor = Cursor(source)
        self.names = 0
        self.texts = 0

    def read(self) -> Header:
        cursor = self.cursor
        self._magic()
        version = self._version()
        tensor_count = self._count("tensors", 24)
        key_count = self._count("keys", 13)
        metadata: dict[str, Entry] = {}
        for number in range(key_count):
            entry = self._entry(number)
            if entry.key in metadata:
                raise cursor.broken(entry.offset, f"duplicate key {printable(entry.key, 50)}")
            metadata[entry.key] = entry
        alignment = self._alignment(metadata)
        raw = self._tensors(tensor_count)
        data_offset = cursor.offset + -cursor.offset % alignment
        return Header(
            cursor.name, cursor.size, version, cursor.byte_order, alignment, data_offset, metadata,
            tuple(TensorInfo(name, shape, kind, data_offset + at, size, n) for name, shape, kind, at, size, n in raw),
        )  # fmt: skip

    def _magic(self) -> None:
        head = self.cursor.source.read(0, 64)
        if not head.startswith(MAGIC):
            problem, hint = describe_foreign(head, self.cursor.size)
            raise ModelFileError(f"{self.cursor.name}: {problem}", hint=hint, offset=0)
        self.cursor.skip(4, "the magic")

    def _version(self) -> int:
        version = self.cursor.u32("the version")
        if version & 0xFFFF == 0 and version:
            self.cursor.set_byte_order(">")
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version in (2, 3):
            return version
        name = self.cursor.name
        if version == 1:
            raise ModelUnsupportedError(f"{name}: GGUF version 1 is too old", hint="convert the model again")
        raise ModelFileError(f"{name}: at byte 4: GGUF version {version}, expected 2 or 3", offset=4)

    def _count(self, what: str, least: int) -> int:
        """Return the number of entries that follow, each of at least `least` bytes."""
        offset = self.cursor.offset
        count = self.cursor.u64(f"the number of {what}")
        if count * least > self.cursor.remaining or count > MAX_ENTRIES:
            raise self.cursor.broken(offset, f"{count} {what} do not fit into a file of {self.cursor.size} bytes")
        return count

    def _entry(self, number: int) -> Entry:
        cursor = self.cursor
        key = self._name(f"the name of key {number}")
        shown = f"the value of {printable(key, 50)}"
        start = cursor.offset
        kind = self._value_type(cursor.u32(shown), shown, start)
        offset = cursor.offset
        if kind == ValueType.STRING:
            return Entry(key, kind, self._text(shown), offset)
        if kind == ValueType.ARRAY:
            return Entry(key, kind, self._array(shown), offset)
        (value,) = struct.unpack(cursor.byte_order + VALUE_FORMATS[kind], cursor.take(VALUE_SIZES[kind], shown))
        return Entry(key, kind, value, offset)

    def _value_type(self, number: int, what: str, offset: int) -> ValueType:
        try:
            return ValueType(number)
        except ValueError:
            raise self.cursor.broken(offset, f"{what} has type {number}, expected 0 to 12") from None

    def _name(self, what: str, limit: int = 0xFFFF) -> str:
        """Return a key or a tensor's name: UTF-8, 1 to `limit` bytes."""
        offset = self.cursor.offset
        length = self.cursor.length(what)
        if not 0 < length <= limit:
            raise self.cursor.broken(offset, f"{what} is {length} bytes long, expected 1 to {limit}")
        self.names += length
        if self.names > MAX_NAMES:
            raise self.cursor.broken(offset, f"more than {MAX_NAMES >> 20} MiB of names")
        try:
            return self.cursor.take(length, what).decode()
        except UnicodeDecodeError as error:
            raise self.cursor.broken(offset + 8 + error.start, f"{what} is not UTF-8") from None

    def _text(self, what: str) -> str | Lazy:
        length = self.cursor.length(what)
        if length >= LONG_TEXT or self.texts + length > MAX_TEXTS:
            offset = self.cursor.offset
            self.cursor.skip(length, what)
            return Lazy(None, length, offset, length)
        self.texts += length
        return self.cursor.take(length, what).decode(errors="surrogateescape")

    def _array(self, what: str) -> Lazy:
        cursor = self.cursor
        start = cursor.offset
        element = self._value_type(cursor.u32(what), f"an element of {what}", start)
        if element == ValueType.ARRAY:
            raise cursor.broken(start, f"{what} is an array of arrays, which GGUF does not allow")
        count = cursor.u64(what)
        offset = cursor.offset
        if element == ValueType.STRING:
            cursor.skip_strings(count, what)
        else:
            cursor.skip(count * VALUE_SIZES[element], what)
        return Lazy(element, count, offset, cursor.offset - offset)

    def _alignment(self, metadata: Mapping[str, Entry]) -> int:
        entry = metadata.get("general.alignment")
        if entry is None:
            return DEFAULT_ALIGNMENT
        value = entry.value
        if entry.type != ValueType.UINT32 or not isinstance(value, int) or value < 1 or value & (value - 1):
            raise self.cursor.broken(entry.offset, "general.alignment must be a power of two, of type u32")
        return value

    def _tensors(self, count: int) -> list[tuple[str, tuple[int, ...], TensorType, int, int, int]]:
        cursor = self.cursor
        layouts = [struct.Struct(f"{cursor.byte_order}{rank}QIQ") for rank in range(MAX_DIMENSIONS + 1)]
        tensors = []
        seen: set[str] = set()
        for number in range(count):
            start = cursor.offset
            name = self._name(f"the name of tensor {number}", MAX_TENSOR_NAME)
            if name in seen:
                raise cursor.broken(start, f"duplicate tensor {printable(name, 70)}")
            seen.add(name)
            offset = cursor.offset
            rank = cursor.u32(f"tensor {number}")
            if rank > MAX_DIMENSIONS:
                raise cursor.broken(
                    offset, f"tensor {printable(name, 70)} has {rank} dimensions, expected 0 to {MAX_DIMENSIONS}"
                )
            *shape, kind, position = cursor.unpack(layouts[rank], f"tensor {number}")
            packing = self._tensor_type(kind, name, offset + 4 + 8 * rank)
            elements, size = self._tensor_size(name, shape, packing, offset)
            tensors.append((name, tuple(shape), packing, position, size, elements))
        return tensors

    def _tensor_type(self, number: int, name: str, offset: int) -> TensorType:
        packing = TENSOR_TYPES.get(number)
        if packing:
            return packing
        if number in REMOVED_TENSOR_TYPES:
            raise ModelUnsupportedError(
                f"{self.cursor.name}: tensor {printable(name, 70)} has the removed type {REMOVED_TENSOR_TYPES[number]}",
                hint="convert the model again, or download a newer file",
            )
        raise self.cursor.broken(
            offset,
            f"tensor {printable(name, 70)} has unknown type {number}: the file is corrupt, or too new for this build",
        )

    def _tensor_size(self, name: str, shape: list[int], packing: TensorType, offset: int) -> tuple[int, int]:
        """Return the number of elements and of bytes of a tensor."""
        elements = 1
        for length in shape:
            elements *= length
        row = shape[0] if shape else 1
        if elements >= 1 << 63 or max(shape, default=1) >= 1 << 63:
            raise self.cursor.broken(offset, f"tensor {printable(name, 70)} has 2^63 or more elements")
        if row % packing.block:
            shown = printable(name, 70)
            raise self.cursor.broken(offset, f"tensor {shown} has rows of {row} elements, not a multiple of {packing.block}")
        return elements, elements // packing.block * packing.size
