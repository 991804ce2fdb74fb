"""Header of a GGUF file as values: metadata entries and the list of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llamacli.gguf.layout import TensorType, ValueType


@dataclass(frozen=True, slots=True)
class Lazy:
    """An array, or a long string, that stays in the file. `element` is None for a string; `size` is in bytes.

    An array of strings has `count` strings, each preceded by its length; `size` includes the lengths.
    """

    element: ValueType | None
    count: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value; `offset` is the value's byte in the file. Bytes that are not UTF-8 become surrogates."""

    key: str
    type: ValueType
    value: int | float | bool | str | Lazy
    offset: int


def describe(entry: Entry) -> str:
    """Return a value as text; of an array, its element type and length."""
    value = entry.value
    if isinstance(value, Lazy):
        return f"{value.size} bytes of text" if value.element is None else f"{value.element.label}[{value.count}]"
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else f"{value:.7g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor: `shape` with the fastest dimension first, `offset` and `size` in bytes of its file, `part` from 0."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    size: int
    elements: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a GGUF file. `data_offset` is the first byte of tensor data, `size` that of the whole file in bytes."""

    name: str
    size: int
    version: int
    byte_order: str
    alignment: int
    data_offset: int
    metadata: Mapping[str, Entry]
    tensors: tuple[TensorInfo, ...]

    def integer(self, key: str) -> int | None:
        """Return an integer value, or None if the key is missing or of another type."""
        value = self._value(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def number(self, key: str) -> float | None:
        """Return an integer or floating-point value as a float, or None."""
        value = self._value(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def flag(self, key: str) -> bool | None:
        """Return a Boolean value, or None."""
        value = self._value(key)
        return value if isinstance(value, bool) else None

    def text(self, key: str) -> str | None:
        """Return a string value, or None; None as well for a string too long to be in memory."""
        value = self._value(key)
        return value if isinstance(value, str) else None

    def array(self, key: str) -> Lazy | None:
        """Return the location of an array, or None."""
        value = self._value(key)
        return value if isinstance(value, Lazy) and value.element is not None else None

    def _value(self, key: str) -> int | float | bool | str | Lazy | None:
        entry = self.metadata.get(key)
        return entry.value if entry else None

    @property
    def architecture(self) -> str | None:
        """The value of `general.architecture`."""
        return self.text("general.architecture")
