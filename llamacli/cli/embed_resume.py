"""What an interrupted run left in an output file: how many texts are whole in it, and the rest cut off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from llamacli.cli import embed_output as forms
from llamacli.cli.embed_options import OutputFormat

_FLOAT = 4


def whole_texts(partial: Path, kind: OutputFormat, dims: int) -> int:
    """How many texts the file holds whole, after cutting off what is not. Raises OSError."""
    if kind == "npz":
        return _of_archive(partial, dims)
    if kind in ("npy", "raw"):
        return _of_array(partial, forms.Npy.HEADER if kind == "npy" else 0, dims)
    return _of_lines(partial, _json_index if kind == "jsonl" else _csv_index, quoted=kind == "csv")


def _of_array(path: Path, header: int, dims: int) -> int:
    count = max(path.stat().st_size - header, 0) // (_FLOAT * dims)
    with path.open("r+b") as file:
        file.truncate(header + count * _FLOAT * dims)
    return count


def _of_archive(partial: Path, dims: int) -> int:
    """Texts that failed have no row, so that the last text with one is the last that is known; it may lack parts."""
    rows, numbers = forms.Npz.parts(partial)
    count = min(_of_array(rows, forms.Npy.HEADER, dims), numbers.stat().st_size // forms.PAIR)
    pairs = np.fromfile(numbers, dtype="<i8", count=2 * count).reshape(-1, 2)
    if not count:
        return 0
    last = int(pairs[-1, 0])
    keep = int(np.searchsorted(pairs[:, 0], last))
    for path, size in ((rows, forms.Npy.HEADER + keep * _FLOAT * dims), (numbers, keep * forms.PAIR)):
        with path.open("r+b") as file:
            file.truncate(size)
    return last


def _of_lines(path: Path, index_of: Callable[[bytes], int | None], *, quoted: bool) -> int:
    """Of the last text lines may be missing, so that it does not count."""
    count, end, offset = 0, 0, 0
    with path.open("r+b") as file:
        for record in _records(file) if quoted else file:
            index = index_of(record) if record.endswith(b"\n") else None
            if index is None:
                break
            if index > count:
                count, end = index, offset
            offset += len(record)
        file.truncate(end)
    return count


def _records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Rows of CSV with their ends. One goes on over the end of a line that is within quotes."""
    record = b""
    for line in lines:
        record += line
        if record.count(b'"') % 2 == 0:
            yield record
            record = b""


def _json_index(line: bytes) -> int | None:
    try:
        index = json.loads(line)["index"]
    except (ValueError, KeyError, TypeError):
        return None
    return index if isinstance(index, int) else None


def _csv_index(record: bytes) -> int | None:
    """The number of a row's text; the row of names counts as one of the first text."""
    cell = record.partition(b",")[0]
    if cell == b"index":
        return 0
    return int(cell) if cell.isdigit() else None
