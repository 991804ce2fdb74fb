"""Output files of earlier runs: the texts that an interrupted run completed, and the check of a finished file."""

from __future__ import annotations

import contextlib
import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from llamacli.batch import vector_formats as forms
from llamacli.batch.formats import Kept, VectorFormat
from llamacli.engine.embedding.outcome import Embedded
from llamacli.engine.embedding.params import EmbeddingParams
from llamacli.engine.embedding.vectors import Matrix
from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import parse_json
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.backend.child.embedder import ChildEmbedder
    from llamacli.backend.cluster.embedder import ClusterEmbedder
    from llamacli.backend.remote.embedder import RemoteEmbedder
    from llamacli.batch.texts import TextSource

Numbers = npt.NDArray[np.int64]

_FLOAT = 4

_CORRUPT = (ValueError, KeyError, TypeError, IndexError, OverflowError, csv.Error)
"""What reading an altered row raises."""

_CORRUPT_ARCHIVE = (zipfile.BadZipFile, EOFError, RuntimeError, struct.error, zlib.error)
"""What zipfile raises besides; of these RuntimeError for methods and flags that it does not know."""

TOLERANCE = 0.02
"""Distance of a vector from itself computed again, relative to its norm: another batch or a GPU rounds sums differently."""


@dataclass(frozen=True, slots=True)
class _Finished:
    """A complete file. `rows` are the vectors of text `first`, the first that has any, or None if no text has."""

    texts: int
    failed: int
    first: int = 0
    rows: Matrix | None = None


def whole_texts(partial: Path, kind: VectorFormat, dims: int) -> Kept:
    """Cut off the incomplete end of a file, and return the texts that it holds completely. Raises OSError."""
    if kind == "npz":
        return _of_archive(partial, dims)
    if kind in ("npy", "raw"):
        header = forms.Npy.HEADER if kind == "npy" else 0
        count = _of_array(partial, header, dims)
        return Kept(count, int(np.isnan(_array(partial, header, count, dims)[:, 0]).sum()))
    return _of_lines(partial, kind)


def finished_texts(
    embedder: ChildEmbedder | RemoteEmbedder | ClusterEmbedder,
    items: TextSource,
    params: EmbeddingParams,
    path: Path,
    kind: VectorFormat,
    dims: int,
) -> Kept:
    """Return the texts of a finished file, if this run would write the same: as many texts, and the same first vector.

    Raises:
        UsageError: if it would not.
    """
    hint = "leave out resume to overwrite it"
    try:
        found = _finished(path, kind, dims)
    except (*_CORRUPT, *_CORRUPT_ARCHIVE, OSError):
        raise UsageError(f"{path} exists, but is not what this run would write", hint=hint, parameter="resume") from None
    fewer = UsageError(
        f"{path} is finished and has {counted(found.texts, 'text')}, more than were given", hint=hint, parameter="resume"
    )
    if items.skip(found.first) < found.first:
        raise fewer
    checked = found.first
    if found.rows is not None:
        item = next(items.items(), None)
        if item is None:
            raise fewer
        (outcome,) = embedder.embed([item.text], params)
        if not isinstance(outcome, Embedded) or not _agree(outcome.vectors, found.rows):
            raise UsageError(
                f"{path} is finished, but from other texts, another model or other options", hint=hint, parameter="resume"
            )
        checked += 1
    if items.skip(found.texts - checked) < found.texts - checked:
        raise fewer
    beyond = 0
    for outcome in embedder.embed(items.texts(), params):
        if isinstance(outcome, Embedded) or kind != "npz":  # an archive has no rows for texts without a vector
            raise UsageError(
                f"{path} is finished and has {counted(found.texts, 'text')}, fewer than were given",
                hint=hint,
                parameter="resume",
            )
        beyond += 1
    return Kept(found.texts + beyond, found.failed + beyond)


def _agree(first: Matrix, second: Matrix) -> bool:
    with np.errstate(all="ignore"):  # a file may hold any number, infinite ones included
        return first.shape == second.shape and bool(np.linalg.norm(first - second) <= TOLERANCE * np.linalg.norm(first))


def _array(path: Path, header: int, count: int, dims: int) -> Matrix:
    """Map the vectors of a file, which reads only those that are accessed."""
    rows: Matrix = np.memmap(path, "<f4", "r", offset=header, shape=(count, dims)) if count else np.empty((0, dims), "<f4")
    return rows


def _of_array(path: Path, header: int, dims: int) -> int:
    count = max(path.stat().st_size - header, 0) // (_FLOAT * dims)
    with path.open("r+b") as file:
        file.truncate(header + count * _FLOAT * dims)
    return count


def _of_archive(partial: Path, dims: int) -> Kept:
    """Texts that failed have no row, so the last text with a row is the last known one. It may lack parts."""
    rows, numbers = forms.Npz.parts(partial)
    count = min(_of_array(rows, forms.Npy.HEADER, dims), numbers.stat().st_size // forms.PAIR)
    pairs = np.fromfile(numbers, dtype="<i8", count=2 * count).reshape(-1, 2)
    count = _in_order(pairs[:, 0])
    pairs = pairs[:count]
    last = int(pairs[-1, 0]) if count else 0
    keep = int(np.searchsorted(pairs[:, 0], last))
    for path, size in ((rows, forms.Npy.HEADER + keep * _FLOAT * dims), (numbers, keep * forms.PAIR)):
        with path.open("r+b") as file:
            file.truncate(size)
    return Kept(last, last - len(np.unique(pairs[:keep, 0])))


def _in_order(index: Numbers) -> int:
    """Return how many of the first numbers are those of texts in order, from 0 on, with gaps for texts without a vector."""
    wrong = (np.diff(index, prepend=0) < 0) | (index < 0)
    return int(wrong.argmax()) if wrong.any() else len(index)


def _of_lines(path: Path, kind: VectorFormat) -> Kept:
    """The last text may lack lines, so it does not count."""
    count, end, offset, failed, of_last = 0, 0, 0, 0, 0
    with path.open("r+b") as file:
        with contextlib.suppress(*_CORRUPT):
            for record, index, lacks_vector in _rows(file, kind):
                if index > count:
                    count, end = index, offset
                    failed, of_last = failed + of_last, 0
                of_last += lacks_vector
                offset += len(record)
        file.truncate(end)
    return Kept(count, failed)


def _finished(path: Path, kind: VectorFormat, dims: int) -> _Finished:
    """Read a complete file. Raises ValueError and the like if it has another format or vectors of another length."""
    if kind == "npz":
        return _finished_archive(path, dims)
    if kind not in ("npy", "raw"):
        return _finished_lines(path, kind, dims)
    header = forms.Npy.HEADER if kind == "npy" else 0
    count, rest = divmod(path.stat().st_size - header, _FLOAT * dims)
    with path.open("rb") as file:
        if rest or (header and file.read(header) != forms.npy_header(count, dims)):
            raise ValueError
    rows = _array(path, header, count, dims)
    failed = np.isnan(rows[:, 0])
    first = int(failed.argmin()) if count and not failed.all() else None
    return _Finished(count, int(failed.sum()), first or 0, None if first is None else np.array(rows[first : first + 1]))


def _finished_archive(path: Path, dims: int) -> _Finished:
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in archive.infolist()):
            raise ValueError  # ours are stored, so that no member is larger than the file
        index = _numbers(archive.read("index.npy"))
        if _in_order(index) < len(index):
            raise ValueError
        if not len(index):
            return _Finished(0, 0)
        texts, first = int(index[-1]) + 1, int(index[0])
        count = int(np.searchsorted(index, first, side="right"))
        with archive.open("embeddings.npy") as file:
            if file.read(forms.Npy.HEADER) != forms.npy_header(len(index), dims):
                raise ValueError
            rows = np.frombuffer(file.read(count * _FLOAT * dims), "<f4").reshape(count, dims)
    return _Finished(texts, texts - len(np.unique(index)), first, rows)


def _numbers(data: bytes) -> Numbers:
    """Return the integers of an array file. Raises ValueError if it is something else, or has another size than it says."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    numbers: Numbers = np.frombuffer(data, "<i8", offset=file.tell())
    if kind != numbers.dtype or shape != numbers.shape:
        raise ValueError
    return numbers


def _finished_lines(path: Path, kind: VectorFormat, dims: int) -> _Finished:
    texts, failed, first = 0, 0, 0
    parts: list[Matrix] = []
    with path.open("rb") as file:
        for record, index, lacks_vector in _rows(file, kind):
            texts = index + 1
            failed += lacks_vector
            if index >= 0 and not lacks_vector and (not parts or index == first):
                parts.append(_vectors(record, kind, dims))
                first = index
    return _Finished(texts, failed, first, np.concatenate(parts) if parts else None)


def _rows(file: BinaryIO, kind: VectorFormat) -> Iterator[tuple[bytes, int, bool]]:
    """Yield each row, the index of its text and whether it has no vector; -1 for the header. Every text has a row, or several.

    Raises: ValueError and the like at the first row that is not a whole row of its text or the next.
    """
    last = -1
    for number, record in enumerate(_records(file) if kind == "csv" else file):
        index, lacks_vector = _read(record, kind)
        if index not in (last, last + 1) or (index < 0 and number):
            raise ValueError
        yield record, index, lacks_vector
        last = index


def _read(record: bytes, kind: VectorFormat) -> tuple[int, bool]:
    """Return the index of a row's text, -1 for the header, and whether it has no vector. Raises ValueError and the like."""
    if not record.endswith(b"\n"):
        raise ValueError
    if kind == "csv":
        cell = record.partition(b",")[0]
        if cell == b"index":
            return -1, False
        index, lacks_vector = int(cell), record.endswith(b",\n")
    else:
        row = _parse(record)
        index, lacks_vector = row["index"], "embedding" not in row
    if type(index) is not int or index < 0:
        raise ValueError
    return index, lacks_vector


def _vectors(record: bytes, kind: VectorFormat, dims: int) -> Matrix:
    """Return the vectors of a row that has any. Raises ValueError if they have another length."""
    if kind == "csv":
        (cells,) = csv.reader(io.StringIO(record.decode(), newline=""))
        return np.asarray(cells[len(forms.Csv.NAMES) :], dtype=np.float32).reshape(-1, dims)
    return np.asarray(_parse(record)["embedding"], dtype=np.float32).reshape(-1, dims)


def _parse(record: bytes) -> Any:
    try:
        return parse_json(record)
    except InvalidJSONError as error:
        raise ValueError from error


def _records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield rows of CSV with their ends. A row continues over a line end within quotes."""
    record = b""
    for line in lines:
        record += line
        if record.count(b'"') % 2 == 0:
            yield record
            record = b""
