"""Importance matrices: how much each column of a weight matters, by the squares of what it was multiplied with.

Files are those of llama-imatrix: GGUF with sums and counts, or its older format, which is only read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from llamacli.errors import UsageError
from llamacli.gguf.arrays import read_strings
from llamacli.gguf.check.loadable import check_file
from llamacli.gguf.source import FileSource
from llamacli.gguf.writer import Value, write_floats

_SUMS, _COUNTS = ".in_sum2", ".counts"
_DATASETS, _CHUNKS, _CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_MOST_ENTRIES = 1 << 16
_MOST_NAME = 256
_MOST_CHUNKS = 2**32 - 1
_MOST_BYTES = 1 << 31
"""The longest file of the older format."""


@dataclass(frozen=True, slots=True)
class ImportanceEntry:
    """The matrices of one weight: sums of squares as floats of 32 bits, for each matrix as many, and the rows of each."""

    name: str
    sums: bytes
    counts: tuple[int, ...]

    @property
    def columns(self) -> int:
        """The number of columns of each matrix."""
        return len(self.sums) // 4 // max(1, len(self.counts))


@dataclass(frozen=True, slots=True)
class Importance:
    """The entries of a file, by the name of their weight. `chunks` of `chunk_size` tokens of the `datasets` were evaluated."""

    entries: tuple[ImportanceEntry, ...]
    datasets: tuple[str, ...] = ()
    chunks: int = 0
    chunk_size: int = 0

    def weights(self) -> dict[str, bytes]:
        """Return the mean squares of each entry as floats of 32 bits; 1 where a matrix was never used."""
        import numpy as np  # needed only here

        found = {}
        for entry in self.entries:
            sums = np.frombuffer(entry.sums, "<f4").reshape(len(entry.counts), -1)
            counts = np.asarray(entry.counts, np.float32)[:, None]
            means = np.divide(sums, counts, out=np.ones_like(sums), where=counts > 0)
            found[entry.name] = means.astype(np.float32).tobytes()
        return found


def merged(parts: Sequence[Importance]) -> Importance:
    """Return the sums of several matrices of one model.

    Raises:
        UsageError: if the sizes of a weight differ, or its sums are too large.
    """
    import numpy as np

    found: dict[str, ImportanceEntry] = {}
    for entry in (entry for part in parts for entry in part.entries):
        before = found.get(entry.name)
        if before is None:
            found[entry.name] = entry
            continue
        if (len(before.sums), len(before.counts)) != (len(entry.sums), len(entry.counts)):
            raise UsageError(f"the importance matrices have different sizes for {entry.name}: they are not of one model")
        with np.errstate(over="ignore"):
            sums = np.frombuffer(before.sums, "<f4") + np.frombuffer(entry.sums, "<f4")
        if not np.isfinite(sums).all():
            raise UsageError(f"the importance matrices cannot be added up: the sums of {entry.name} are too large")
        counts = tuple(one + other for one, other in zip(before.counts, entry.counts, strict=True))
        found[entry.name] = ImportanceEntry(entry.name, sums.tobytes(), counts)
    size = max((part.chunk_size for part in parts), default=0)
    most = max((count for entry in found.values() for count in entry.counts), default=0)
    datasets = tuple(dict.fromkeys(name for part in parts for name in part.datasets))
    return Importance(tuple(found.values()), datasets, min(most // size, _MOST_CHUNKS) if size else 0, size)


def write_importance(file: IO[bytes], importance: Importance) -> None:
    """Write a file as llama-imatrix does."""
    tensors = []
    for entry in sorted(importance.entries, key=lambda one: one.name.encode()):
        matrices = len(entry.counts)
        counts = struct.pack(f"<{matrices}f", *map(float, entry.counts))
        tensors.append((entry.name + _SUMS, (entry.columns, matrices) if matrices > 1 else (entry.columns,), entry.sums))
        tensors.append((entry.name + _COUNTS, (1, matrices) if matrices > 1 else (1,), counts))
    metadata: dict[str, Value] = {
        "general.type": "imatrix",
        _DATASETS: importance.datasets,
        _CHUNKS: importance.chunks,
        _CHUNK_SIZE: importance.chunk_size,
    }
    write_floats(file, metadata, tensors)


def read_importance(path: Path) -> Importance:
    """Read a file of llama-imatrix or of `models imatrix`.

    Raises:
        UsageError: if it cannot be read, or is not such a file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4)
            importance = _read_gguf(path) if head == b"GGUF" else _read_legacy(head, file, path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (struct.error, UnicodeDecodeError, MemoryError):
        raise _corrupt(path) from None
    for entry in importance.entries:
        _check(entry, path)
    return importance


def _read_gguf(path: Path) -> Importance:
    header = check_file(path)
    if header.text("general.type") != "imatrix":
        raise UsageError(f"{path} is not an importance matrix", hint="`llamacli models imatrix` makes one")
    with FileSource(path) as source:
        data = {one.name: (one, source.read(one.offset, one.size)) for one in header.tensors if one.type.name == "F32"}
        datasets = header.array(_DATASETS)
        names = [text.decode("utf-8", "surrogateescape") for text in read_strings(source, header, datasets)] if datasets else []
    entries = []
    for name, (info, sums) in data.items():
        if not name.endswith(_SUMS):
            continue
        weight = name.removesuffix(_SUMS)
        if weight + _COUNTS not in data:
            raise UsageError(f"{path}: {weight} has no counts")
        counts = data[weight + _COUNTS][1]
        if len(sums) != info.size:
            raise _corrupt(path)
        entries.append(ImportanceEntry(weight, sums, tuple(_rounded(counts, path))))
    chunks, size = header.integer(_CHUNKS) or 0, header.integer(_CHUNK_SIZE) or 0
    if not 0 <= min(chunks, size) <= max(chunks, size) <= _MOST_CHUNKS:
        raise _corrupt(path)
    return Importance(tuple(entries), tuple(names), chunks, size)


def _rounded(counts: bytes, path: Path) -> list[int]:
    values = struct.unpack(f"<{len(counts) // 4}f", counts)
    if not all(0 <= value < 1e18 for value in values):
        raise _corrupt(path)
    return [round(value) for value in values]


def _read_legacy(head: bytes, file: IO[bytes], path: Path) -> Importance:
    """Read the format without names of keys: means times the number of chunks, for each weight."""
    (count,) = struct.unpack("<i", head)
    if not 1 <= count <= _MOST_ENTRIES:
        raise UsageError(f"{path} is not an importance matrix", hint="`llamacli models imatrix` makes one")
    data = head + file.read(_MOST_BYTES)
    position, entries = 4, []
    for _ in range(count):
        (length,) = struct.unpack_from("<i", data, position)
        if not 1 <= length <= _MOST_NAME:
            raise _corrupt(path)
        name = data[position + 4 : position + 4 + length].decode()
        calls, values = struct.unpack_from("<ii", data, position + 4 + length)
        position += 12 + length
        if values < 1 or calls < 0 or position + 4 * values > len(data):
            raise _corrupt(path)
        entries.append(ImportanceEntry(name, data[position : position + 4 * values], (calls,)))
        position += 4 * values
    chunks, dataset = 0, ""
    if position + 8 <= len(data):
        chunks, length = struct.unpack_from("<ii", data, position)
        dataset = data[position + 8 : position + 8 + max(0, length)].decode("utf-8", "surrogateescape")
    return Importance(tuple(entries), (dataset,) if dataset else (), max(0, chunks))


def _check(entry: ImportanceEntry, path: Path) -> None:
    """Raise UsageError for values that no evaluation gives: llama.cpp would quantize nonsense with them."""
    import numpy as np

    values = np.frombuffer(entry.sums, "<f4")
    if not len(values) or not entry.counts or len(values) % len(entry.counts):
        raise _corrupt(path)
    if not np.isfinite(values).all() or (values < 0).any():
        raise UsageError(f"{path}: {entry.name} has values that are negative or not finite")


def _corrupt(path: Path) -> UsageError:
    return UsageError(f"{path} is not an importance matrix, or is corrupt")
