"""Writer of small GGUF files of floats, such as importance matrices, as llama.cpp lays them out."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import IO

from llamacli.gguf.layout import DEFAULT_ALIGNMENT, MAGIC, ValueType

Value = str | int | Sequence[str]
"""A text, an integer of 32 bits without a sign, or texts."""

_VERSION = 3
_F32 = 0


def write_floats(file: IO[bytes], metadata: Mapping[str, Value], tensors: Sequence[tuple[str, tuple[int, ...], bytes]]) -> None:
    """Write a file of F32 tensors: each has a name, a shape with the fastest dimension first, and little-endian data."""
    head = [MAGIC, struct.pack("<Iqq", _VERSION, len(tensors), len(metadata))]
    head += [part for key, value in metadata.items() for part in (_text(key), _value(value))]
    offset = 0
    for name, shape, data in tensors:
        head += [_text(name), struct.pack(f"<I{len(shape)}q", len(shape), *shape), struct.pack("<Iq", _F32, offset)]
        offset += len(data) + _gap(len(data))
    written = b"".join(head)
    file.write(written + bytes(_gap(len(written))))
    for _, _, data in tensors:
        file.write(data + bytes(_gap(len(data))))


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", ValueType.STRING) + _text(value)
    if isinstance(value, int):
        return struct.pack("<II", ValueType.UINT32, value)
    texts = b"".join(map(_text, value))
    return struct.pack("<IIq", ValueType.ARRAY, ValueType.STRING, len(value)) + texts


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<q", len(data)) + data


def _gap(size: int) -> int:
    return -size % DEFAULT_ALIGNMENT
