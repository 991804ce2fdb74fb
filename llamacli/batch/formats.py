"""Formats of input and output files, and the file name suffixes that stand for them."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

RowFormat = Literal["lines", "json", "jsonl", "csv", "tsv"]
"""A format of input: a text per line, a JSON array or a JSON value per line, only the latter, or a table with a header."""

VectorFormat = Literal["view", "json", "jsonl", "csv", "raw", "npy", "npz", "parquet"]
"""A format of vectors. `view` is for a terminal, the others are for programs."""

ROW_SUFFIXES: dict[str, RowFormat] = {
    ".csv": "csv", ".tsv": "tsv", ".txt": "lines", ".text": "lines", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip

VECTOR_SUFFIXES: dict[str, VectorFormat] = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".npy": "npy", ".npz": "npz", ".parquet": "parquet",
    ".f32": "raw", ".bin": "raw",
}  # fmt: skip

RESUMABLE: tuple[VectorFormat, ...] = ("jsonl", "csv", "npy", "npz", "raw")
"""Formats that can be continued after an interruption. The others are readable only when complete."""


def format_of(name: str, default: RowFormat = "json") -> RowFormat:
    """Return the format of an input file by its name, or the default for an unknown suffix."""
    return ROW_SUFFIXES.get(PurePath(name).suffix.lower(), default)
