"""Where vectors go: a terminal, standard output or a file, in one of many forms."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from llamacli.batch.texts import Item
from llamacli.engine.embedding.params import Embedded, NotEmbedded, Outcome
from llamacli.engine.embedding.vectors import Matrix
from llamacli.errors import UsageError
from llamacli.render import embed as page

Write = Callable[[bytes], object]

PAIR = 16
"""Bytes of a text's number and a part's, two 64-bit integers."""


class Writer(Protocol):
    """Takes outcomes in order. `close` writes what comes after the last of them."""

    def add(self, item: Item, outcome: Outcome) -> None:
        """What became of a text."""

    def close(self) -> None:
        """Nothing more comes."""


class View:
    """A line for each text, for people: never pages of numbers."""

    def __init__(self, write: Write, *, width: int) -> None:
        self._write, self._width, self._count = write, width, 0

    def add(self, item: Item, outcome: Outcome) -> None:
        """Shows it, unless it is one too many."""
        self._count += 1
        if self._count > page.SHOWN_ROWS:
            return
        if isinstance(outcome, NotEmbedded):
            line = page.format_failed_row(self._count, item.shown, outcome.error, width=self._width)
        else:
            line = page.format_view_row(self._count, item.shown, outcome.vectors, outcome.tokens, width=self._width)
        self._write(line.encode())

    def close(self) -> None:
        """Counts those that were not shown."""
        if self._count > page.SHOWN_ROWS:
            self._write(page.format_more(self._count - page.SHOWN_ROWS, width=self._width).encode())


class JsonLines:
    """A document on a line for each text: index, id if it has one, tokens, and the vector, or the error.

    `nested`: a text has several vectors, one a token. `chunks`: it has one a chunk, each on a line of its own. `first` is the
    index of the first text.
    """

    def __init__(self, write: Write, *, nested: bool, chunks: bool, first: int = 0) -> None:
        self._write, self._nested, self._chunks, self._first = write, nested, chunks, first

    def add(self, item: Item, outcome: Outcome) -> None:
        """Writes it."""
        members: dict[str, Any] = {"index": outcome.index + self._first}
        if item.id is not None:
            members["id"] = item.id
        if isinstance(outcome, NotEmbedded):
            lines = [json.dumps({**members, "error": page.error_document(outcome.error)}, ensure_ascii=False)]
        else:
            lines = [
                page.json_members({**members, **numbered, **cut(outcome)}, ("embedding", vector))
                for numbered, vector in self._vectors(outcome)
            ]
        self._write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))

    def _vectors(self, outcome: Embedded) -> list[tuple[dict[str, int], str]]:
        if not self._chunks:
            return [({"tokens": outcome.tokens}, page.json_vector(outcome.vectors, nested=self._nested))]
        rows = zip(outcome.of_rows, outcome.vectors.tolist(), strict=True)
        return [({"chunk": number, "tokens": of_row}, page.json_numbers(row)) for number, (of_row, row) in enumerate(rows)]

    def close(self) -> None:
        """Nothing is left to write."""


class JsonDocument:
    """OpenAI's list of embeddings, written as it comes. A text without a vector has an `error` in its place.

    `nested`: a text has several vectors, for its tokens or chunks; then each has an array of vectors, even if it is one.
    """

    def __init__(self, write: Write, *, nested: bool, model: str) -> None:
        self._write, self._nested, self._model = write, nested, model
        self._tokens, self._separator = 0, '{"object": "list", "data": [\n'

    def add(self, item: Item, outcome: Outcome) -> None:
        """Writes it."""
        members: dict[str, Any] = {"object": "embedding", "index": outcome.index}
        if item.id is not None:
            members["id"] = item.id
        if isinstance(outcome, NotEmbedded):
            text = json.dumps({**members, "object": "error", "error": page.error_document(outcome.error)}, ensure_ascii=False)
        else:
            self._tokens += outcome.tokens
            vector = page.json_vector(outcome.vectors, nested=self._nested)
            text = page.json_members({**members, **cut(outcome)}, ("embedding", vector))
        self._write((self._separator + text).encode("utf-8", "backslashreplace"))
        self._separator = ",\n"

    def close(self) -> None:
        """The rest of the document."""
        usage = {"prompt_tokens": self._tokens, "total_tokens": self._tokens}
        rest = f"], {json.dumps({'model': self._model, 'usage': usage}, ensure_ascii=False)[1:]}\n"
        start = self._separator if self._separator != ",\n" else "\n"
        self._write((start + rest).encode())


class Csv:
    """A row for each vector: index, id, part (of a text that has several), tokens, error, and a column for each number.

    `tokens` are those of the row: of a chunk, or 1 without pooling. `first` is the index of the first text; unless it is 0, the
    names of the columns are there already.
    """

    NAMES = ("index", "id", "part", "tokens", "error")

    def __init__(self, write: Write, *, dims: int, first: int = 0) -> None:
        self._write, self._dims, self._first = write, dims, first
        if not first:
            self._row([*self.NAMES, *(f"v{number}" for number in range(dims))])

    def add(self, item: Item, outcome: Outcome) -> None:
        """Writes it."""
        index, name = outcome.index + self._first, "" if item.id is None else item.id
        if isinstance(outcome, NotEmbedded):
            self._row([index, name, "", "", str(outcome.error), *[""] * self._dims])
            return
        for part, (of_row, row) in enumerate(zip(outcome.of_rows, outcome.vectors.tolist(), strict=True)):
            self._row([index, name, part, of_row, "", *(f"{value:.9g}" for value in row)])

    def _row(self, cells: list[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        self._write(text.getvalue().encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Nothing is left to write."""


class Raw:
    """32-bit floats, little-endian. A text without a vector is a row of NaN, so that rows and texts stay together."""

    def __init__(self, write: Write, *, dims: int) -> None:
        self._write, self._dims = write, dims

    def add(self, item: Item, outcome: Outcome) -> None:
        """Writes it."""
        self._write(rows_of(outcome, self._dims).astype("<f4", copy=False).tobytes())

    def close(self) -> None:
        """Nothing is left to write."""


class Npy:
    """An array file of NumPy, whose header is written when the number of rows is known; `rows` are there already."""

    HEADER = 128

    def __init__(self, file: io.BufferedIOBase, *, dims: int, rows: int = 0) -> None:
        self._file, self._dims, self._rows = file, dims, rows
        if not rows:
            file.write(npy_header(0, dims))

    def add(self, item: Item, outcome: Outcome) -> None:
        """Writes it; a text without a vector is a row of NaN."""
        rows = rows_of(outcome, self._dims)
        self._rows += len(rows)
        self._file.write(rows.astype("<f4", copy=False).tobytes())

    def close(self) -> None:
        """Says in the header how many rows there are."""
        self._file.seek(0)
        self._file.write(npy_header(self._rows, self._dims))


class Npz:
    """A zip of arrays: `embeddings`, and for each row `index` (of the text) and `part`. Texts without one have no row.

    Until the end the rows, and the pairs of index and part, lie in files of their own, `parts`. `first` is the index of the
    first text; unless it is 0, these files are gone on with.
    """

    def __init__(self, path: Path, rows: io.BufferedIOBase, numbers: io.BufferedIOBase, *, dims: int, first: int = 0) -> None:
        self._path, self._rows, self._numbers, self._first = path, rows, numbers, first
        rows.seek(0, io.SEEK_END)
        self._npy = Npy(rows, dims=dims, rows=numbers.seek(0, io.SEEK_END) // PAIR)

    @staticmethod
    def parts(path: Path) -> tuple[Path, Path]:
        """The files beside it."""
        return path.with_name(path.name + ".rows"), path.with_name(path.name + ".numbers")

    def add(self, item: Item, outcome: Outcome) -> None:
        """Writes it."""
        if isinstance(outcome, Embedded):
            self._npy.add(item, outcome)
            pairs = [(outcome.index + self._first, part) for part in range(len(outcome.vectors))]
            self._numbers.write(np.asarray(pairs, dtype="<i8").tobytes())

    def close(self) -> None:
        """Puts the arrays together."""
        import zipfile

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
    """Rows that are written together."""

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
        """Writes it, with others."""
        row: dict[str, Any] = {"index": outcome.index, "id": None if item.id is None else str(item.id)}
        if isinstance(outcome, NotEmbedded):
            self._rows.append({**row, "error": str(outcome.error)})
        else:
            self._rows += [
                {**row, "part": part, "tokens": of_row, "embedding": vector}
                for part, (of_row, vector) in enumerate(zip(outcome.of_rows, outcome.vectors, strict=True))
            ]
        if len(self._rows) >= self.GROUP:
            self._flush()

    def _flush(self) -> None:
        self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def close(self) -> None:
        """Writes the rest."""
        self._flush()
        self._file.close()


def rows_of(outcome: Outcome, dims: int) -> Matrix:
    """The vectors, or a row of NaN for a text that has none."""
    return outcome.vectors if isinstance(outcome, Embedded) else np.full((1, dims), np.nan, dtype=np.float32)


def npy_header(rows: int, dims: int) -> bytes:
    """The header of an array file, always of the same size."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dims}), }}"
    return b"\x93NUMPY\x01\x00" + (Npy.HEADER - 10).to_bytes(2, "little") + text.ljust(Npy.HEADER - 11).encode() + b"\n"


def cut(outcome: Embedded) -> dict[str, bool]:
    """A mark for a text of which the end is missing."""
    return {"truncated": True} if outcome.cut else {}
