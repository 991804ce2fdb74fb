"""Writers of vectors, one for each format of file."""

from __future__ import annotations

import csv
import io
import json
import math
import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from llamacli.batch.texts import Item
from llamacli.batch.vector_json import error_document, json_members, json_numbers, json_vector
from llamacli.engine.embedding.outcome import Embedded, NotEmbedded, Outcome, little_endian
from llamacli.errors import UsageError

Write = Callable[[bytes], object]

PAIR = 16
"""Bytes of the index of a text and the number of a part, two 64-bit integers."""


class Writer(Protocol):
    """A writer of outcomes in order."""

    def add(self, item: Item, outcome: Outcome) -> None:
        """Write the outcome of a text."""

    def close(self) -> None:
        """Write what follows the last outcome."""


class JsonLines:
    """A JSON document per line and text: index, id if it has one, tokens, and the vector or the error.

    With `nested` a text has a vector for each token, with `chunks` one for each chunk, on separate lines. `first` is the index
    of the first text.
    """

    def __init__(self, write: Write, *, nested: bool, chunks: bool, first: int = 0) -> None:
        self._write, self._nested, self._chunks, self._first = write, nested, chunks, first

    def add(self, item: Item, outcome: Outcome) -> None:
        """Write the outcome of a text."""
        members: dict[str, Any] = {"index": outcome.index + self._first}
        if item.id is not None:
            members["id"] = item.id
        if isinstance(outcome, NotEmbedded):
            lines = [json.dumps({**members, "error": error_document(outcome.error)}, ensure_ascii=False)]
        else:
            lines = [
                json_members({**members, **numbered, **truncation(outcome)}, ("embedding", vector))
                for numbered, vector in self._vectors(outcome)
            ]
        self._write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))

    def _vectors(self, outcome: Embedded) -> list[tuple[dict[str, int], str]]:
        if not self._chunks:
            return [({"tokens": outcome.tokens}, json_vector(outcome.rows, nested=self._nested))]
        rows = zip(outcome.row_tokens, outcome.rows.tolist(), strict=True)
        return [({"chunk": number, "tokens": count}, json_numbers(row)) for number, (count, row) in enumerate(rows)]

    def close(self) -> None:
        """Write nothing more."""


class JsonDocument:
    """OpenAI's list of embeddings, written piece by piece. A text without a vector has an `error` in its place.

    With `nested` texts have several vectors, for their tokens or chunks, and each text has an array of vectors.
    """

    def __init__(self, write: Write, *, nested: bool, model: str) -> None:
        self._write, self._nested, self._model = write, nested, model
        self._tokens, self._separator = 0, '{"object": "list", "data": [\n'

    def add(self, item: Item, outcome: Outcome) -> None:
        """Write the outcome of a text."""
        members: dict[str, Any] = {"object": "embedding", "index": outcome.index}
        if item.id is not None:
            members["id"] = item.id
        if isinstance(outcome, NotEmbedded):
            text = json.dumps({**members, "object": "error", "error": error_document(outcome.error)}, ensure_ascii=False)
        else:
            self._tokens += outcome.tokens
            vector = json_vector(outcome.rows, nested=self._nested)
            text = json_members({**members, **truncation(outcome)}, ("embedding", vector))
        self._write((self._separator + text).encode("utf-8", "backslashreplace"))
        self._separator = ",\n"

    def close(self) -> None:
        """Write the rest of the document."""
        usage = {"prompt_tokens": self._tokens, "total_tokens": self._tokens}
        rest = f"], {json.dumps({'model': self._model, 'usage': usage}, ensure_ascii=False)[1:]}\n"
        start = self._separator if self._separator != ",\n" else "\n"
        self._write((start + rest).encode())


class Csv:
    """A row for each vector: index, id, part (of a text with several vectors), tokens, error, and a column for each number.

    `tokens` counts those of the row: of a chunk, or 1 without pooling. `first` is the index of the first text. Unless it is 0,
    the file has a header already.
    """

    NAMES = ("index", "id", "part", "tokens", "error")

    def __init__(self, write: Write, *, dims: int, first: int = 0) -> None:
        self._write, self._dims, self._first = write, dims, first
        if not first:
            self._row([*self.NAMES, *(f"v{number}" for number in range(dims))])

    def add(self, item: Item, outcome: Outcome) -> None:
        """Write the outcome of a text."""
        index, name = outcome.index + self._first, "" if item.id is None else item.id
        if isinstance(outcome, NotEmbedded):
            self._row([index, name, "", "", str(outcome.error), *[""] * self._dims])
            return
        for part, (count, row) in enumerate(zip(outcome.row_tokens, outcome.rows.tolist(), strict=True)):
            self._row([index, name, part, count, "", *(f"{value:.9g}" for value in row)])

    def _row(self, cells: list[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        self._write(text.getvalue().encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Write nothing more."""


class Raw:
    """32-bit floats, little-endian. A text without a vector is a row of NaN, so that rows and texts correspond."""

    def __init__(self, write: Write, *, dims: int) -> None:
        self._write, self._dims = write, dims

    def add(self, item: Item, outcome: Outcome) -> None:
        """Write the outcome of a text."""
        self._write(numbers_of(outcome, self._dims))

    def close(self) -> None:
        """Write nothing more."""


class Npy:
    """A NumPy array file, whose header is completed when the number of rows is known. The file has `rows` already."""

    HEADER = 128

    def __init__(self, file: io.BufferedIOBase, *, dims: int, rows: int = 0) -> None:
        self._file, self._dims, self._rows = file, dims, rows
        if not rows:
            file.write(npy_header(0, dims))

    def add(self, item: Item, outcome: Outcome) -> None:
        """Write the outcome of a text. One without a vector is a row of NaN."""
        self._rows += outcome.rows.shape[0] if isinstance(outcome, Embedded) else 1
        self._file.write(numbers_of(outcome, self._dims))

    def close(self) -> None:
        """Write the number of rows into the header."""
        self._file.seek(0)
        self._file.write(npy_header(self._rows, self._dims))


class Npz:
    """A zip of arrays: `embeddings`, and for each row `index` (of the text) and `part`. Texts without a vector have no row.

    Until the end, the rows and the pairs of index and part are in separate files, `parts`. `first` is the index of the first
    text. Unless it is 0, these files are continued.
    """

    def __init__(self, path: Path, rows: io.BufferedIOBase, numbers: io.BufferedIOBase, *, dims: int, first: int = 0) -> None:
        self._path, self._rows, self._numbers, self._first = path, rows, numbers, first
        rows.seek(0, io.SEEK_END)
        self._npy = Npy(rows, dims=dims, rows=numbers.seek(0, io.SEEK_END) // PAIR)

    @staticmethod
    def parts(path: Path) -> tuple[Path, Path]:
        """Return the paths of the separate files, beside the archive."""
        return path.with_name(path.name + ".rows"), path.with_name(path.name + ".numbers")

    def add(self, item: Item, outcome: Outcome) -> None:
        """Write the outcome of a text."""
        if isinstance(outcome, Embedded):
            self._npy.add(item, outcome)
            for part in range(outcome.rows.shape[0]):
                self._numbers.write(struct.pack("<qq", outcome.index + self._first, part))

    def close(self) -> None:
        """Combine the arrays into the archive."""
        import zipfile

        import numpy as np

        self._npy.close()
        self._rows.close()
        self._numbers.close()
        rows, numbers = self.parts(self._path)
        pairs = np.fromfile(numbers, dtype="<i8").reshape(-1, 2)
        with zipfile.ZipFile(self._path, "w", allowZip64=True) as archive:
            archive.write(rows, "embeddings.npy")
            for name, column in (("index", pairs[:, 0]), ("part", pairs[:, 1])):
                array = io.BytesIO()
                np.save(array, column)
                archive.writestr(f"{name}.npy", array.getvalue())
        rows.unlink()
        numbers.unlink()


class Parquet:
    """A table with the columns index, id, part, tokens, error and embedding."""

    GROUP = 4096
    """Rows in a row group."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            from pyarrow.parquet import ParquetWriter
        except ImportError:
            raise UsageError("writing Parquet needs pyarrow", hint="pip install 'llamacli[parquet]'") from None
        self._arrow = pa
        self._schema = pa.schema(
            [
                ("index", pa.int64()), ("id", pa.string()), ("part", pa.int64()), ("tokens", pa.int64()),
                ("error", pa.string()), ("embedding", pa.list_(pa.float32())),
            ]
        )  # fmt: skip
        self._file = ParquetWriter(path, self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, item: Item, outcome: Outcome) -> None:
        """Buffer the outcome of a text, and write a full row group."""
        row: dict[str, Any] = {"index": outcome.index, "id": None if item.id is None else str(item.id)}
        if isinstance(outcome, NotEmbedded):
            self._rows.append({**row, "error": str(outcome.error)})
        else:
            self._rows += [
                {**row, "part": part, "tokens": count, "embedding": vector}
                for part, (count, vector) in enumerate(zip(outcome.row_tokens, outcome.vectors, strict=True))
            ]
        if len(self._rows) >= self.GROUP:
            self._flush()

    def _flush(self) -> None:
        self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def close(self) -> None:
        """Write the buffered rows."""
        self._flush()
        self._file.close()


def numbers_of(outcome: Outcome, dims: int) -> bytes:
    """Return the vectors as 32-bit floats, little-endian, or a row of NaN for a text without one."""
    return outcome.little_endian if isinstance(outcome, Embedded) else little_endian(array("f", [math.nan] * dims).tobytes())


def npy_header(rows: int, dims: int) -> bytes:
    """Return the header of a NumPy array file, of a fixed size."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dims}), }}"
    return b"\x93NUMPY\x01\x00" + (Npy.HEADER - 10).to_bytes(2, "little") + text.ljust(Npy.HEADER - 11).encode() + b"\n"


def truncation(outcome: Embedded) -> dict[str, bool]:
    """Return the member that marks a truncated text."""
    return {"truncated": True} if outcome.truncated else {}
