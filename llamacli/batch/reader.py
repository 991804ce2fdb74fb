"""The reader of rows: lines of text, JSON arrays, JSON lines and tables, each row with its fields or its problem."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from llamacli.batch.formats import RowFormat
from llamacli.batch.json_array import ArraySplitter, Element
from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import parse_json
from llamacli.openai.batch_row import Row
from llamacli.units import counted

MAX_LINE_BYTES = 64 << 20
"""Bytes of one line, so that a file without line ends does not fill the memory."""

_BLOCK = 1 << 16

INVALID_JSON = "invalid JSON"
"""The beginning of the problem of a row that is not JSON."""

_LONE_CARRIAGE_RETURN = re.compile(rb"(?<=\r)(?!\n)")


def open_rows(path: Path) -> io.BufferedReader:
    """Open a file of rows.

    Raises:
        UsageError: if it cannot be read.
    """
    try:
        file = path.open("rb")
        try:
            file.peek(1)  # reading a directory fails only now
        except OSError:
            file.close()
            raise
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return file


def read_rows(
    stream: BinaryIO | io.BufferedIOBase,
    row_format: RowFormat,
    *,
    name: str = "the input",
    text_field: str = "prompt",
    columns: tuple[str, ...] = (),
    required: tuple[str, ...] = (),
    keep_blank_lines: bool = False,
) -> Iterator[Row]:
    """Yield the rows of a stream, one at a time. A row that cannot be read has a problem and does not end the stream.

    The format `json` reads the elements of an array, or JSON lines if the stream does not begin with `[`. A line of text, and a
    JSON string, become a row with the one field `text_field`. `columns` are the columns of a table that the caller uses: a row
    with a problem keeps those that are sound. Without `columns` all must be text. Tables and lines of text must have the fields
    `required`. Blank lines are skipped, or with `keep_blank_lines` are rows of the format `lines`. A line's row has the number
    of the line, from 0, so that blank lines count. `name` is the stream's name in messages.

    Raises:
        UsageError: if the stream cannot be read, has a line of more than MAX_LINE_BYTES, has an invalid header, lacks a
            required field, or has several columns of a name that is used.
    """
    head = _head(stream, name) if row_format == "json" else b""
    if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        yield from _array(stream, head, name, text_field)
        return
    lines = _Lines(stream, name, head)
    if row_format in ("csv", "tsv"):
        yield from _table(lines, "," if row_format == "csv" else "\t", columns, required)
        return
    if row_format == "lines":
        _require(name, [text_field], required)
    for raw in lines:
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        if not line.strip() and not (keep_blank_lines and row_format == "lines"):
            continue
        read = _text_row if row_format == "lines" else _json_line
        yield read(lines.number - 1, line, lines, text_field)


def _head(stream: BinaryIO | io.BufferedIOBase, name: str) -> bytes:
    """Read the beginning of a stream, up to its first character that is not white space or further."""
    head = b""
    while (codecs.BOM_UTF8.startswith(head) or not head.removeprefix(codecs.BOM_UTF8).strip()) and (
        block := _read(stream, name, _BLOCK)
    ):
        head += block
    return head


def _read(stream: BinaryIO | io.BufferedIOBase, name: str, size: int) -> bytes:
    """Read up to `size` bytes, as soon as there are any."""
    read = getattr(stream, "read1", stream.read)
    try:
        data: bytes = read(size)
    except OSError as error:
        raise _unreadable(name, error) from error
    return data


def _unreadable(name: str, error: OSError) -> UsageError:
    return UsageError(f"cannot read {name}: {error.strerror or error}")


def _array(stream: BinaryIO | io.BufferedIOBase, head: bytes, name: str, text_field: str) -> Iterator[Row]:
    blocks = [head.removeprefix(codecs.BOM_UTF8)]
    splitter = ArraySplitter(
        lambda size: blocks.pop() if blocks else _read(stream, name, size), max_bytes=MAX_LINE_BYTES, name=name
    )
    for number, element in enumerate(splitter.elements()):
        if element.problem is not None:
            yield Row(number, problem=element.problem, line=element.line, end=element.end)
        else:
            yield _json_row(number, element, text_field)


class _Lines:
    """The lines of a stream with their ends, without a byte order mark. `number` is that of the last line, from 1, and
    `end` the bytes up to its end. `head` are bytes that were read before.
    """

    def __init__(self, stream: BinaryIO | io.BufferedIOBase, name: str, head: bytes = b"") -> None:
        self._stream = stream
        self._head = head
        self.name = name
        self.number = self.end = 0

    def __iter__(self) -> Iterator[bytes]:
        while line := self._read():
            self.number += 1
            self.end += len(line)
            if len(line) > MAX_LINE_BYTES:
                raise UsageError(f"{self.name}: line {self.number} is longer than {MAX_LINE_BYTES >> 20} MiB")
            yield line.removeprefix(codecs.BOM_UTF8) if self.number == 1 else line

    def _read(self) -> bytes:
        line, newline, self._head = self._head.partition(b"\n")
        if newline:
            return line + newline
        try:
            return line + self._stream.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise _unreadable(self.name, error) from error


def _text_row(number: int, data: bytes, lines: _Lines, text_field: str) -> Row:
    line, end = lines.number, lines.end
    try:
        return Row(number, {text_field: data.decode("utf-8")}, line=line, end=end)
    except UnicodeDecodeError as error:
        problem = f"line {line} is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}"
        return Row(number, problem=problem, line=line, end=end)


def _json_line(number: int, data: bytes, lines: _Lines, text_field: str) -> Row:
    return _json_row(number, Element(data, lines.number, 1, lines.end), text_field)


def _json_row(number: int, element: Element, text_field: str) -> Row:
    line, end = element.line, element.end
    try:
        value = parse_json(element.text)
    except InvalidJSONError as error:
        column = error.column + (element.column - 1 if error.line == 1 else 0)
        location = f"line {line + error.line - 1}, column {column}"
        return Row(number, problem=f"{INVALID_JSON} at {location}: {error.reason}", line=line, end=end)
    if isinstance(value, str):
        value = {text_field: value}
    if not isinstance(value, dict):
        return Row(number, problem=f"line {line} is neither a JSON object nor a string", line=line, end=end)
    return Row(number, value, line=line, end=end)


def _table(lines: _Lines, delimiter: str, columns: tuple[str, ...], required: tuple[str, ...]) -> Iterator[Row]:
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(_decoded(lines), delimiter=delimiter)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UsageError(f"{lines.name}: invalid header: {error}") from error
    _require(lines.name, header, required)
    for name in (*required, *columns):
        if header.count(name) > 1:
            raise UsageError(f"{lines.name} has {header.count(name)} columns {name}", hint="rename all but one of them")
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(number, problem=f"line {reader.line_num} cannot be read: {error}", line=reader.line_num, end=lines.end)
        else:
            if not cells:
                continue
            row = _table_row(number, header, cells, reader.line_num, columns)
            yield dataclasses.replace(row, end=lines.end)
        number += 1


def _decoded(lines: _Lines) -> Iterator[str]:
    """Yield lines for the CSV reader, which splits none itself. A byte that is not UTF-8 becomes a surrogate."""
    for line in lines:
        for part in _LONE_CARRIAGE_RETURN.split(line):
            if part:
                yield part.decode("utf-8", "surrogateescape")


def _require(name: str, header: list[str], required: tuple[str, ...]) -> None:
    """Raise UsageError unless the header has the required fields."""
    missing = [field for field in required if field not in header]
    if not missing:
        return
    if not header:
        raise UsageError(f"{name} has no columns: its first row must name them")
    raise UsageError(
        f"{name} has no column {' and no column '.join(missing)}",
        hint=f"{'its columns are' if len(header) > 1 else 'its only column is'} {', '.join(header)}",
    )


def _table_row(number: int, header: list[str], cells: list[str], line: int, columns: tuple[str, ...]) -> Row:
    cells_by_name = zip(header, cells, strict=False)
    fields = {name: cell for name, cell in cells_by_name if not columns or name in columns}
    broken = [name for name, cell in fields.items() if not _is_text(cell)]
    problem = None
    if len(cells) != len(header):
        problem = f"line {line} has {counted(len(cells), 'field')}, not the {counted(len(header), 'field')} of the header"
    elif broken:
        problem = f"line {line}: the field {broken[0]} is not UTF-8 text"
    is_usable = bool(columns) or problem is None
    return Row(number, {name: cell for name, cell in fields.items() if name not in broken and is_usable}, problem, line)


def _is_text(cell: str) -> bool:
    """Return whether the cell holds no byte that was not UTF-8."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True
