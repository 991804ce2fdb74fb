"""Rows of prompts in files, and the file of their results, which an interrupted run can go on with."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from llamacli.errors import UsageError

RowFormat = Literal["jsonl", "csv", "text"]

LONGEST_LINE = 64 << 20
"""Bytes of one row; more is taken for something that is no file of rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of input: its number from 0, its fields, or what is wrong with it."""

    number: int
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def is_batch(self) -> bool:
        """Whether it is a request of an OpenAI Batch file."""
        return "custom_id" in self.fields and "body" in self.fields


def format_of(name: str) -> RowFormat:
    """The format that a file's name tells: .csv, .txt and .text, else JSON lines."""
    suffix = Path(name).suffix.lower()
    return "csv" if suffix == ".csv" else "text" if suffix in (".txt", ".text") else "jsonl"


def read_rows(stream: BinaryIO, row_format: RowFormat) -> Iterator[Row]:
    """The rows of a stream, one at a time. Empty lines are no rows. A row that cannot be read is one with a problem.

    Raises:
        UsageError: a line that is longer than LONGEST_LINE.
    """
    if row_format == "csv":
        yield from _read_csv(stream)
        return
    number = 0
    for line in _lines(stream):
        if not line.strip():
            continue
        yield _read_text(number, line) if row_format == "text" else _read_json(number, line)
        number += 1


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise UsageError(f"a row has more than {LONGEST_LINE >> 20} MiB: this is no file of rows")
        yield line.rstrip(b"\r\n")


def _read_text(number: int, line: bytes) -> Row:
    try:
        return Row(number, {"prompt": line.decode("utf-8")})
    except UnicodeDecodeError as error:
        return Row(number, problem=f"the row is not UTF-8 text (byte 0x{line[error.start]:02x} at offset {error.start})")


def _read_json(number: int, line: bytes) -> Row:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it is too deeply nested or not UTF-8"
        return Row(number, problem=f"the row is no JSON: {reason}")
    if isinstance(fields, str):
        fields = {"prompt": fields}
    if not isinstance(fields, dict):
        return Row(number, problem="the row is no JSON object")
    return Row(number, fields)


def _read_csv(stream: BinaryIO) -> Iterator[Row]:
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.DictReader(text, restkey="", strict=False)
    try:
        yield from _records(reader)
    finally:
        text.detach()  # the stream is not ours to close


def _records(reader: csv.DictReader[str]) -> Iterator[Row]:
    for number, fields in enumerate(reader):
        extra, missing = fields.pop("", None), [name for name, value in fields.items() if value is None]
        if extra is not None or missing:
            wanted = len(reader.fieldnames or ())
            yield Row(number, problem=f"the row does not have the {wanted} fields of the header")
        elif any("\udc80" <= char <= "\udcff" for value in fields.values() for char in value):
            yield Row(number, problem="the row is not UTF-8 text")
        else:
            yield Row(number, dict(fields))


class ResultFile:
    """Results as JSON lines, each whole or not there at all as far as anybody who reads later can tell.

    `done` says which rows the file held when it was opened with `resume`: a last line that was torn by a crash or a full disk
    is cut off first.
    """

    def __init__(self, path: Path | None, write: Callable[[bytes], None], *, resume: bool = False) -> None:
        """Results go to the file, or through `write` if there is none.

        Raises:
            UsageError: the file holds something and `resume` was not asked for, or what it holds are no results.
            OSError: it cannot be opened.
        """
        self._done = bytearray()
        self.kept = 0
        self._file: io.FileIO | None = None
        self._write = write
        if path is None:
            return
        if resume and path.exists():
            self._repair(path)
        elif path.is_file() and path.stat().st_size:
            raise UsageError(f"{path} holds something already", hint="--resume goes on with it; or name another file")
        self._file = io.FileIO(path, "ab")
        self._write = self._write_whole

    def _write_whole(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._file is not None:
            view = view[self._file.write(view) or 0 :]

    def _repair(self, path: Path) -> None:
        """Reads the results that are there, and cuts off what stands behind the last whole line."""
        whole = 0
        with path.open("r+b") as file:
            for line in iter(file.readline, b""):
                number = _row_number(line) if line.endswith(b"\n") else None
                if number is None and not line.endswith(b"\n"):
                    break
                if number is None:
                    raise UsageError(f"{path} is no file of results: a line of it has no row number")
                whole += len(line)
                self._mark(number)
            file.truncate(whole)

    def _mark(self, number: int) -> None:
        if number >= len(self._done) * 8:
            self._done.extend(bytes(number // 8 + 1 - len(self._done)))
        if not self._done[number // 8] >> number % 8 & 1:
            self.kept += 1
        self._done[number // 8] |= 1 << number % 8

    def holds(self, number: int) -> bool:
        """Whether a row's result was there when the file was opened."""
        return number < len(self._done) * 8 and bool(self._done[number // 8] >> number % 8 & 1)

    def write(self, result: dict[str, Any]) -> None:
        """Adds a result; it has left the program when this returns.

        Raises:
            OSError: it cannot be written. What was torn is repaired by the next `resume`.
        """
        self._write(json.dumps(result, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Makes sure that everything is on the disk."""
        if self._file is not None and not self._file.closed:
            try:
                if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                    os.fsync(self._file.fileno())
            finally:
                self._file.close()


def _row_number(line: bytes) -> int | None:
    try:
        number = json.loads(line)["row"]
    except (ValueError, TypeError, KeyError):
        return None
    return number if isinstance(number, int) and number >= 0 else None
