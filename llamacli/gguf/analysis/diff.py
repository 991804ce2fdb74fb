"""Comparison of two models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from llamacli.gguf.analysis.hashes import BLOCK
from llamacli.gguf.arrays import read_bytes, read_numbers, read_strings
from llamacli.gguf.header import Entry, Header, Lazy, TensorInfo, describe
from llamacli.gguf.layout import ValueType
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import Source

Element = float | bytes
"""An element of an array: a number, a Boolean or the bytes of a string."""

Change = Literal["added", "removed", "changed"]

SPLIT_PREFIX = "split."
"""Prefix of keys about the split into files, which the comparison skips."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key or tensor that is in one model only, or differs. `old` and `new` describe it; None if missing."""

    kind: Literal["key", "tensor"]
    name: str
    change: Change
    old: str | None
    new: str | None


def compare(old: ModelFiles, new: ModelFiles, old_source: Source, new_source: Source) -> list[Difference]:
    """Return the differences in metadata (arrays element by element) and tensor lists, not in the tensors' data."""
    keys = _compare_keys(old.header, new.header, old_source, new_source)
    return [*keys, *_compare_tensors(old.tensors, new.tensors)]


def _compare_keys(old: Header, new: Header, old_source: Source, new_source: Source) -> Iterator[Difference]:
    for key in _merged(old.metadata, new.metadata):
        if key.startswith(SPLIT_PREFIX):
            continue
        before, after = old.metadata.get(key), new.metadata.get(key)
        if before and after:
            detail = _entry_difference(before, after, (old_source, old), (new_source, new))
            if detail:
                yield Difference("key", key, "changed", *detail)
        elif before:
            yield Difference("key", key, "removed", describe(before), None)
        elif after:
            yield Difference("key", key, "added", None, describe(after))


def compare_data(
    old: ModelFiles,
    new: ModelFiles,
    old_sources: Sequence[Source],
    new_sources: Sequence[Source],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Difference]:
    """Return the tensors with the same name, shape and type but different data.

    `on_progress` receives the bytes compared and the total.
    """
    after = {tensor.name: tensor for tensor in new.tensors}
    pairs = [(one, after[one.name]) for one in old.tensors if one.name in after]
    alike = [(one, other) for one, other in pairs if (one.shape, one.type) == (other.shape, other.type)]
    total = sum(one.size for one, _ in alike)
    done = 0
    found = []
    for one, other in alike:
        for start in range(0, one.size, BLOCK):
            length = min(BLOCK, one.size - start)
            first = old_sources[one.part].read(one.offset + start, length)
            if first != new_sources[other.part].read(other.offset + start, length):
                shown = describe_tensor(one)
                found.append(Difference("tensor", one.name, "changed", f"{shown}, its data", f"{shown}, other data"))
                break
            if on_progress:
                on_progress(done + start + length, total)
        done += one.size
    return found


def _entry_difference(
    before: Entry, after: Entry, old: tuple[Source, Header], new: tuple[Source, Header]
) -> tuple[str, str] | None:
    """Return descriptions of two different values, of arrays with the first different element; None if equal."""
    if not isinstance(before.value, Lazy) or not isinstance(after.value, Lazy):
        same = before.type == after.type and before.value == after.value
        if not same and before.type != after.type:
            return f"{describe(before)} ({before.type.label})", f"{describe(after)} ({after.type.label})"
        return None if same else (describe(before), describe(after))
    if before.value.element != after.value.element or before.value.element is None:
        same = before.value.element == after.value.element and _same_bytes(old[0], before.value, new[0], after.value)
        return None if same else (describe(before), describe(after))
    if old[1].byte_order == new[1].byte_order and _same_bytes(old[0], before.value, new[0], after.value):
        return None
    first: tuple[int, Element | None, Element | None] | None = None
    count = 0
    for number, (one, other) in enumerate(zip_longest(_elements(*old, before.value), _elements(*new, after.value))):
        if one != other:
            first = first or (number, one, other)
            count += 1
    if first is None:
        return None
    return (
        f"{describe(before)}, at {first[0]}: {_element(first[1])}",
        f"{describe(after)}, at {first[0]}: {_element(first[2])} ({count} differ)",
    )


def _elements(source: Source, header: Header, lazy: Lazy) -> Iterable[Element]:
    return read_strings(source, header, lazy) if lazy.element == ValueType.STRING else read_numbers(source, header, lazy)


def _element(value: Element | None) -> str:
    if value is None:
        return "missing"
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def _same_bytes(old: Source, before: Lazy, new: Source, after: Lazy) -> bool:
    return before.size == after.size and all(
        first == second for first, second in zip(read_bytes(old, before), read_bytes(new, after), strict=True)
    )


def _compare_tensors(old: Iterable[TensorInfo], new: Iterable[TensorInfo]) -> Iterator[Difference]:
    before, after = ({tensor.name: tensor for tensor in tensors} for tensors in (old, new))
    for name in _merged(before, after):
        first, second = before.get(name), after.get(name)
        if first and second:
            if (first.shape, first.type) != (second.shape, second.type):
                yield Difference("tensor", name, "changed", describe_tensor(first), describe_tensor(second))
        elif first:
            yield Difference("tensor", name, "removed", describe_tensor(first), None)
        elif second:
            yield Difference("tensor", name, "added", None, describe_tensor(second))


def describe_tensor(tensor: TensorInfo) -> str:
    """Return a tensor's type and shape: `Q4_K [4096, 14336]`."""
    return f"{tensor.type.name} [{', '.join(map(str, tensor.shape))}]"


def _merged(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return the names of both, in the order of the first."""
    return list(dict.fromkeys([*old, *new]))
