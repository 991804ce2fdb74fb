"""Reads the header of a GGUF file: metadata and the list of tensors, without the arrays and without the data."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from llamacli.errors import ModelFileError, ModelUnsupportedError
from llamacli.gguf.cursor import Cursor
from llamacli.gguf.foreign import describe_foreign
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
from llamacli.gguf.source import Source
from llamacli.gguf.text import printable

LONG_TEXT = 1 << 20
"""Texts from this many bytes (a whole tokenizer.json, say) are left in the file, as arrays are."""

MAX_ENTRIES = 1 << 15
"""More keys, or more tensors, than any model has: such a count is taken for damage."""

MAX_TEXTS = 4 << 20
"""Bytes of texts that are kept in memory; further ones are left in the file."""

MAX_NAMES = 4 << 20
"""Bytes of names; more are taken for damage."""


@dataclass(frozen=True, slots=True)
class Lazy:
    """An array, or a long text, that was left in the file. `element` is None for a text, `size` in bytes.

    An array of strings has `count` strings, each after its length; `size` includes the lengths.
    """

    element: ValueType | None
    count: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value; `offset` is where the value lies. Text that is not UTF-8 keeps its bytes as surrogates."""

    key: str
    type: ValueType
    value: int | float | bool | str | Lazy
    offset: int


def describe(entry: Entry) -> str:
    """A value in words: itself, or the length of an array."""
    value = entry.value
    if isinstance(value, Lazy):
        return f"{value.size} bytes of text" if value.element is None else f"{value.element.label}[{value.count}]"
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else f"{value:.7g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor: `shape` fastest dimension first, `offset` from the start of its file, `size` in bytes; `part` counts from 0."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    size: int
    elements: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in front of a GGUF file's data. `data_offset` is where the tensors' data begins, `size` the whole file's."""

    name: str
    size: int
    version: int
    byte_order: str
    alignment: int
    data_offset: int
    metadata: Mapping[str, Entry]
    tensors: tuple[TensorInfo, ...]

    def integer(self, key: str) -> int | None:
        """A whole number, or None if the key is missing or holds something else."""
        value = self._value(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def number(self, key: str) -> float | None:
        """A number of any kind."""
        value = self._value(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def flag(self, key: str) -> bool | None:
        """A truth value."""
        value = self._value(key)
        return value if isinstance(value, bool) else None

    def text(self, key: str) -> str | None:
        """A text, unless it is longer than LONG_TEXT."""
        value = self._value(key)
        return value if isinstance(value, str) else None

    def array(self, key: str) -> Lazy | None:
        """Where an array lies."""
        value = self._value(key)
        return value if isinstance(value, Lazy) and value.element is not None else None

    def _value(self, key: str) -> int | float | bool | str | Lazy | None:
        entry = self.metadata.get(key)
        return entry.value if entry else None

    @property
    def architecture(self) -> str | None:
        """`general.architecture`."""
        return self.text("general.architecture")


def read_header(source: Source) -> Header:
    """The header of a GGUF file, every length in it checked against the file.

    Raises ModelFileError where it stops making sense, and ModelUnsupportedError for a version or type that llama.cpp cannot
    read.
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
                raise cursor.broken(entry.offset, f"key {printable(entry.key, 50)} appears a second time")
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
        """How many entries follow, each of at least `least` bytes."""
        offset = self.cursor.offset
        count = self.cursor.u64(f"the number of {what}")
        if count * least > self.cursor.remaining or count > MAX_ENTRIES:
            raise self.cursor.broken(offset, f"{count} {what} cannot be in a file of {self.cursor.size} bytes")
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
        """A key or a tensor's name: UTF-8, of 1 to `limit` bytes."""
        offset = self.cursor.offset
        length = self.cursor.length(what)
        if not 0 < length <= limit:
            raise self.cursor.broken(offset, f"{what} is {length} bytes long, expected 1 to {limit}")
        self.names += length
        if self.names > MAX_NAMES:
            raise self.cursor.broken(offset, f"more than {MAX_NAMES >> 20} MB of names")
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
            raise cursor.broken(start, f"{what} is an array of arrays, which GGUF files must not hold")
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
                raise cursor.broken(start, f"tensor {printable(name, 70)} appears a second time")
            seen.add(name)
            offset = cursor.offset
            rank = cursor.u32(f"tensor {number}")
            if rank > MAX_DIMENSIONS:
                raise cursor.broken(
                    offset, f"tensor {printable(name, 70)} has {rank} dimensions, expected 0 to {MAX_DIMENSIONS}"
                )
            *shape, kind, place = cursor.unpack(layouts[rank], f"tensor {number}")
            packing = self._tensor_type(kind, name, offset + 4 + 8 * rank)
            elements, size = self._tensor_size(name, shape, packing, offset)
            tensors.append((name, tuple(shape), packing, place, size, elements))
        return tensors

    def _tensor_type(self, number: int, name: str, offset: int) -> TensorType:
        packing = TENSOR_TYPES.get(number)
        if packing:
            return packing
        if number in REMOVED_TENSOR_TYPES:
            raise ModelUnsupportedError(
                f"{self.cursor.name}: tensor {printable(name, 70)} is of type {REMOVED_TENSOR_TYPES[number]}, now unsupported",
                hint="convert the model again, or fetch a newer file",
            )
        raise self.cursor.broken(
            offset, f"tensor {printable(name, 70)} has type {number}: damaged, or made for a newer llama.cpp"
        )

    def _tensor_size(self, name: str, shape: list[int], packing: TensorType, offset: int) -> tuple[int, int]:
        """Elements and bytes of a tensor."""
        elements = 1
        for length in shape:
            elements *= length
        row = shape[0] if shape else 1
        if elements >= 1 << 63 or max(shape, default=1) >= 1 << 63:
            raise self.cursor.broken(offset, f"tensor {printable(name, 70)} has more elements than can be counted")
        if row % packing.block:
            shown = printable(name, 70)
            raise self.cursor.broken(offset, f"tensor {shown} has rows of {row}, not blocks of {packing.block}")
        return elements, elements // packing.block * packing.size
