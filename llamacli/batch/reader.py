"""Rows of prompts in files: JSON lines, tables, or a prompt on each line."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from llamacli.errors import UsageError
from llamacli.openai.batch_row import Row

RowFormat = Literal["lines", "jsonl", "csv", "tsv"]

LONGEST_LINE = 64 << 20
"""Bytes of one row; more is taken for something that is no file of rows."""

NO_JSON = "the row is no JSON"
"""How the problem of a row begins that is none."""

_FORMATS: dict[str, RowFormat] = {".csv": "csv", ".tsv": "tsv", ".txt": "lines", ".text": "lines"}


def format_of(name: str) -> RowFormat:
    """The format that a file's name tells: .csv, .tsv, .txt and .text, else JSON lines."""
    return _FORMATS.get(Path(name).suffix.lower(), "jsonl")


def read_rows(stream: BinaryIO, row_format: RowFormat) -> Iterator[Row]:
    """The rows of a stream, one at a time. Empty lines are no rows. A row that cannot be read is one with a problem.

    Raises:
        UsageError: a line that is longer than LONGEST_LINE, or a table whose row of names is none.
    """
    if row_format in ("csv", "tsv"):
        yield from _read_table(stream, "," if row_format == "csv" else "\t")
        return
    number = 0
    for line in _lines(stream):
        if not line.strip():
            continue
        yield _read_text(number, line) if row_format == "lines" else _read_json(number, line)
        number += 1


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines without their ends, and without a byte order mark."""
    beginning = codecs.BOM_UTF8
    while line := stream.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise _too_long()
        yield line.removeprefix(beginning).rstrip(b"\r\n")
        beginning = b""


def _too_long() -> UsageError:
    return UsageError(f"a row has more than {LONGEST_LINE >> 20} MiB: this is no file of rows")


def _read_text(number: int, line: bytes) -> Row:
    try:
        return Row(number, {"prompt": line.decode("utf-8")})
    except UnicodeDecodeError as error:
        return Row(number, problem=f"the row is not UTF-8 text (byte 0x{line[error.start]:02x} at offset {error.start})")


def _read_json(number: int, line: bytes) -> Row:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        return Row(number, problem=f"{NO_JSON}: {error.msg}")
    except UnicodeDecodeError:
        return Row(number, problem=f"{NO_JSON}: it is not UTF-8")
    except ValueError:
        return Row(number, problem=f"{NO_JSON} that can be read: a number of it has thousands of digits")
    except RecursionError:
        return Row(number, problem=f"{NO_JSON} that can be read: it is too deeply nested")
    if isinstance(fields, str):
        fields = {"prompt": fields}
    if not isinstance(fields, dict):
        return Row(number, problem=f"{NO_JSON} object")
    return Row(number, fields)


def _read_table(stream: BinaryIO, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_LINE)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.DictReader(_text_lines(text), restkey=None, delimiter=delimiter)
    try:
        try:
            reader.fieldnames  # noqa: B018  # reads the first row
        except csv.Error as error:
            raise UsageError(f"the names of the columns cannot be read: {error}") from error
        yield from _records(reader)
    finally:
        text.detach()  # the stream is not ours to close


def _text_lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise _too_long()
        yield line


def _records(reader: csv.DictReader[str]) -> Iterator[Row]:
    """The rows of a table. What stands in a row beyond the columns has the key None, and what it lacks is None."""
    for number in itertools.count():
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield Row(number, problem=f"the row cannot be read: {error}")
            continue
        if fields is None:
            return
        if None in fields or None in fields.values():
            wanted = len(reader.fieldnames or ())
            yield Row(number, problem=f"the row does not have the {wanted} fields of the header")
        elif not all(_is_text(value) for value in fields.values()):
            yield Row(number, problem="the row is not UTF-8 text")
        else:
            yield Row(number, dict(fields))


def _is_text(value: str) -> bool:
    """Whether it can be written; bytes that were not UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
