"""Blocks of vectors: what a search reads instead of the texts' rows, a quarter of the bytes and without the texts between.

A vector is stored as a scale and 8-bit integers. `scales` has for each vector the scale and the length of what rounding took
away, which bounds the error of a product with a vector of length 1; the few vectors that may be among the nearest are then
compared exactly. The vectors are in the order of their numbers. A removed one is overwritten, and its number is negative.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ROWS = 4096
"""Vectors in a block."""

_LEVELS = 127


def append(database: sqlite3.Connection, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
    """Add vectors, float32 and of one length, whose numbers are ascending and greater than all so far."""
    import numpy as np

    if not numbers:
        return
    codes, scales = _quantized(np.frombuffer(b"".join(vectors), "<f4").reshape(len(numbers), -1))
    names = np.array(numbers, "<i8")
    start = _fill_last(database, names, scales, codes)
    for first in range(start, len(numbers), ROWS):
        part = slice(first, first + ROWS)
        size = len(names[part])
        values = (numbers[first], size, size, names[part].tobytes(), scales[part].tobytes(), codes[part].tobytes())
        database.execute("INSERT INTO block VALUES (?, ?, ?, ?, ?, ?)", values)


def _fill_last(
    database: sqlite3.Connection, names: npt.NDArray[np.int64], scales: npt.NDArray[np.float32], codes: npt.NDArray[np.int8]
) -> int:
    """Put the first vectors into the last block, as far as it has room; return their number."""
    query = "SELECT first, numbers, scales, codes FROM block WHERE first = (SELECT max(first) FROM block) AND size < ?"
    last = database.execute(query, (ROWS,)).fetchone()
    if last is None:
        return 0
    first, *columns = last
    _check(*columns)
    count = min(ROWS - len(columns[0]) // 8, len(names))
    added = (names[:count].tobytes(), scales[:count].tobytes(), codes[:count].tobytes())
    joined = [before + more for before, more in zip(columns, added, strict=True)]
    query = "UPDATE block SET size = size + ?, live = live + ?, numbers = ?, scales = ?, codes = ? WHERE first = ?"
    database.execute(query, (count, count, *joined, first))
    return count


def _quantized(vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return the integers of each vector, and its scale and error."""
    import numpy as np

    scale = np.abs(vectors).max(axis=1, initial=0.0) / _LEVELS
    divisor = np.where(scale > 0, scale, 1.0)
    codes = np.rint(vectors / divisor[:, None]).astype(np.int8)
    lost = vectors.astype(np.float64) - codes * scale[:, None].astype(np.float64)
    error = np.sqrt(np.einsum("ij,ij->i", lost, lost))
    return codes, np.stack([scale, error], axis=1).astype("<f4")


def erase(database: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Overwrite the vectors of removed texts. When most of all are overwritten, the blocks are made anew."""
    owner = "SELECT first FROM block WHERE first <= ? ORDER BY first DESC LIMIT 1"
    found = [(row[0], number) for number in sorted(numbers) if (row := database.execute(owner, (number,)).fetchone())]
    for first, members in groupby(found, key=lambda one: one[0]):
        _erase_in(database, first, [number for _, number in members])
    database.execute("DELETE FROM block WHERE live <= 0")
    size, live = database.execute("SELECT total(size), total(live) FROM block").fetchone()
    if size > 2 * (live + ROWS):
        rebuild(database)


def _erase_in(database: sqlite3.Connection, first: int, gone: list[int]) -> None:
    import numpy as np

    query = "SELECT size, numbers, length(codes), length(scales), typeof(codes), typeof(scales) FROM block WHERE first = ?"
    size, data, length, scales, *types = database.execute(query, (first,)).fetchone()
    _check(data, b"")
    if types != ["blob", "blob"] or scales < len(data) or length < size or size * 8 > len(data):
        raise sqlite3.DatabaseError("a block of vectors is damaged")
    known = np.frombuffer(data, "<i8")
    places = [int(place) for place, number in zip(np.searchsorted(np.abs(known), gone), gone, strict=True)
              if place < len(known) and known[place] == number]  # fmt: skip
    width = length // max(size, 1)
    for column, width_of_one in (("codes", width), ("scales", 8)):
        with database.blobopen("block", column, first) as blob:
            for place in places:
                blob.seek(place * width_of_one)
                blob.write(bytes(width_of_one))
    with database.blobopen("block", "numbers", first) as blob:
        for place in places:
            blob.seek(place * 8)
            blob.write((-known[place]).astype("<i8").tobytes())
    database.execute("UPDATE block SET live = live - ? WHERE first = ?", (len(places), first))


def rebuild(database: sqlite3.Connection) -> None:
    """Make all blocks anew, from the vectors of the texts."""
    database.execute("DELETE FROM block")
    rows = database.execute("SELECT number, vector FROM texts ORDER BY number")
    while part := rows.fetchmany(ROWS):
        append(database, [number for number, _ in part], [vector for _, vector in part])


def read(database: sqlite3.Connection, first: int) -> tuple[bytes, bytes, bytes]:
    """Return the numbers (int64), scales and errors (float32 pairs) and integers (int8) of a block."""
    numbers, scales = database.execute("SELECT numbers, scales FROM block WHERE first = ?", (first,)).fetchone()
    _check(numbers, scales)
    with database.blobopen("block", "codes", first, readonly=True) as codes:
        return numbers, scales, codes.read()


def _check(numbers: object, *others: object) -> None:
    """Raise sqlite3.DatabaseError unless these are the columns of a block."""
    if not isinstance(numbers, bytes) or len(numbers) % 8 or not all(isinstance(one, bytes) for one in others):
        raise sqlite3.DatabaseError("a block of vectors is damaged")
