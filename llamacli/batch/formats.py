"""Formats of input and output files, and the file name suffixes that stand for them."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from llamacli.errors import UsageError
from llamacli.values import dataclass

RowFormat = Literal["lines", "json", "jsonl", "csv", "tsv"]
"""A format of input: a text per line, a JSON array or a JSON value per line, only the latter, or a table with a header."""

ResultFormat = Literal["jsonl", "json", "csv", "tsv", "parquet"]
"""A format of the results of rows: a JSON value per line, an array of them, or a table."""

VectorFormat = Literal["view", "json", "jsonl", "csv", "raw", "npy", "npz", "parquet"]
"""A format of vectors. `view` is for a terminal, the others are for programs."""

ROW_SUFFIXES: dict[str, RowFormat] = {
    ".csv": "csv", ".tsv": "tsv", ".txt": "lines", ".text": "lines", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip

RESULT_SUFFIXES: dict[str, ResultFormat] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
}  # fmt: skip

_SPREADSHEETS = (".xlsx", ".xls", ".ods")

VECTOR_SUFFIXES: dict[str, VectorFormat] = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".npy": "npy", ".npz": "npz", ".parquet": "parquet",
    ".f32": "raw", ".bin": "raw",
}  # fmt: skip

RESUMABLE: tuple[VectorFormat, ...] = ("jsonl", "csv", "npy", "npz", "raw")
"""Formats that can be continued after an interruption. The others are readable only when complete."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The texts that a file of vectors has already, and how many of them have no vector."""

    texts: int
    failed: int


NOTHING = Kept(0, 0)


def format_of(name: str, default: RowFormat = "json") -> RowFormat:
    """Return the format of an input file by its name, or the default for an unknown suffix."""
    return ROW_SUFFIXES.get(PurePath(name).suffix.lower(), default)


def result_format(name: str) -> ResultFormat:
    """Return the format of a file of results by its name: JSON lines for an unknown suffix.

    Raises:
        UsageError: if the name is that of a spreadsheet.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix in _SPREADSHEETS:
        raise UsageError(f"results cannot be written as {suffix}", hint="name a .csv file, which spreadsheets open")
    return RESULT_SUFFIXES.get(suffix, "jsonl")
