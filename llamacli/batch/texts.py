"""The texts of `embed`: arguments, whole files, lines or rows, read as they are needed."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from llamacli.cli.embed.options import InputFormat, SourceOptions
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.files import STDIN, read_text_file
from llamacli.errors import LlamacliError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.embedding.embedder import Text

_FORMATS: dict[str, InputFormat] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
STDIN_NAME = "standard input"
LONGEST_ROW = 64 << 20
"""Bytes of one line: a file without line ends must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Item:
    """A text, or why there is none, and what identifies it."""

    text: Text
    id: str | int | None = None

    @property
    def shown_text(self) -> str:
        """The text, empty if there is none."""
        return self.text if isinstance(self.text, str) else ""

    @property
    def shown(self) -> str:
        """The text for people to recognize it by."""
        return str(self.id) if self.id is not None else self.shown_text


class Source:
    """The items, read once. `total` is how many there are, None if only reading tells. A context manager: it closes `file`."""

    def __init__(self, items: Iterable[Item], total: int | None, file: io.BufferedIOBase | None = None) -> None:
        self._items = iter(items)
        self._file = file
        self.total = total
        self._kept: dict[int, Item] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def skip(self, count: int) -> int:
        """Reads past the first `count` items and returns how many there were of these."""
        return sum(1 for _ in zip(range(count), self._items, strict=False))

    def items(self) -> Iterator[Item]:
        """The items themselves."""
        return self._items

    def texts(self) -> Iterator[Text]:
        """The texts. Each item is kept until `take` asks for it."""
        for number, item in enumerate(self._items):
            self._kept[number] = item
            yield item.text

    def take(self, number: int) -> Item:
        """The item of text `number`, which is then forgotten."""
        return self._kept.pop(number)


def open_source(console: Console, texts: Sequence[str], options: SourceOptions) -> Source:
    """What the command line names: arguments, then files, then rows; standard input if it names nothing.

    Raises:
        UsageError: there is nothing, something cannot be read, or standard input would be read twice.
    """
    nothing = not texts and not options.file and options.input is None
    if nothing and not console.has_piped_input:
        raise UsageError("there is no text", hint="give texts as arguments, with -f or --input, or on standard input")
    if [*texts, *map(str, options.file), str(options.input)].count(STDIN) > 1:
        raise UsageError("standard input can be read only once", hint=f"write {STDIN} once")
    kind, file = options.input_format or "lines", None
    items: list[Iterable[Item]] = [
        _rows(console.input_stream(), STDIN_NAME, kind, options.field) if text == STDIN else (Item(text),) for text in texts
    ]
    items += [
        (Item(console.read_input(), STDIN),) if str(file) == STDIN else (Item(read_text_file(file), str(file)),)
        for file in options.file
    ]
    if nothing or str(options.input) == STDIN:
        items.append(_rows(console.input_stream(), STDIN_NAME, kind, options.field))
    elif options.input is not None:
        file = _open(options.input)
        kind = options.input_format or _FORMATS.get(options.input.suffix.lower(), "lines")
        items.append(_rows(file, str(options.input), kind, options.field))
    counted = all(isinstance(part, tuple) for part in items)
    return Source((item for part in items for item in part), len(items) if counted else None, file)


def _open(path: Path) -> io.BufferedReader:
    """The file, opened now, so that a missing one is told before a model is loaded."""
    try:
        file = path.open("rb")
        try:
            file.peek(1)
        except OSError:
            file.close()
            raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    return file


def _rows(file: io.BufferedIOBase, name: str, kind: InputFormat, field: str) -> Iterator[Item]:
    if kind == "lines":
        return _lines(file, name)
    if kind == "jsonl":
        return _json_rows(file, name, field)
    return _table_rows(file, name, "," if kind == "csv" else "\t", field)


def _lines(file: io.BufferedIOBase, name: str) -> Iterator[Item]:
    for number, line in _numbered(file, name):
        yield Item(_decoded(line, number))


def _numbered(file: io.BufferedIOBase, name: str) -> Iterator[tuple[int, bytes]]:
    """Lines without their ends, numbered from 1."""
    for number, line in enumerate(_raw_lines(file, name), 1):
        yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _raw_lines(file: io.BufferedIOBase, name: str) -> Iterator[bytes]:
    """Lines with their ends, without a byte order mark."""
    for number in itertools.count(1):
        try:
            line = file.readline(LONGEST_ROW + 1)
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror or error}") from error
        if not line:
            return
        if len(line) > LONGEST_ROW:
            raise UsageError(f"{name}: line {number} is longer than {LONGEST_ROW >> 20} MiB")
        yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _decoded(line: bytes, number: int) -> Text:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        return UsageError(f"line {number} is not UTF-8 text: byte 0x{line[error.start]:02x} at offset {error.start}")


def _json_rows(file: io.BufferedIOBase, name: str, field: str) -> Iterator[Item]:
    for number, line in _numbered(file, name):
        if line.strip():
            yield _json_row(line, number, field)


def _json_row(line: bytes, number: int, field: str) -> Item:
    decoded = _decoded(line, number)
    if not isinstance(decoded, str):
        return Item(decoded)
    try:
        row = json.loads(decoded)
    except ValueError as error:
        return Item(UsageError(f"line {number} is no JSON: {getattr(error, 'msg', error)}"))
    except RecursionError:
        return Item(UsageError(f"line {number}: the JSON is nested too deep"))
    if isinstance(row, str):
        return Item(_sound(row, number, "text"))
    if not isinstance(row, dict):
        return Item(UsageError(f"line {number} is neither an object nor a text"))
    own = row.get("id")
    name = own if isinstance(own, (str, int)) and not isinstance(own, bool) else None
    if isinstance(name, str) and not isinstance(sound := _sound(name, number, "id"), str):
        return Item(sound)
    text = row.get(field)
    if not isinstance(text, str):
        return Item(_missing(number, field, field in row), name)
    return Item(_sound(text, number, f"field {field}"), name)


def _sound(text: str, number: int, what: str) -> Text:
    r"""The text, unless it has half of a character, which JSON can write (`\ud800`) and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        return UsageError(f"line {number}: the {what} has half of a surrogate pair, {half} at offset {error.start}")
    return text


def _missing(number: int, field: str, there: bool) -> LlamacliError:
    if there:
        return UsageError(f"line {number}: the field {field} holds no text")
    return UsageError(f"line {number} has no field {field}", hint="--field names another")


def _table_rows(file: io.BufferedIOBase, name: str, delimiter: str, field: str) -> Iterator[Item]:
    """Rows of CSV or TSV; the first one names the columns."""
    csv.field_size_limit(LONGEST_ROW)
    text = (line.decode("utf-8", "surrogateescape") for line in _raw_lines(file, name))
    rows = csv.reader(text, delimiter=delimiter)
    try:
        columns = next(rows, [])
        if not columns:
            raise UsageError(f"{name} has no columns: its first row must name them")
        if field not in columns:
            raise UsageError(f"{name} has no column {field}", hint=f"--field names one of {', '.join(columns)}")
        for row in rows:
            if row:
                yield _table_row(dict(zip(columns, row, strict=False)), rows.line_num, field)
    except csv.Error as error:
        raise UsageError(f"{name}, line {rows.line_num}: {error}") from error


def _table_row(row: dict[str, str], number: int, field: str) -> Item:
    text, name = row.get(field), row.get("id")
    if not _is_utf8(name):
        return Item(UsageError(f"line {number}: the id is not UTF-8 text"))
    if text is None:
        return Item(_missing(number, field, there=False), name)
    return Item(text if _is_utf8(text) else UsageError(f"line {number} is not UTF-8 text"), name)


def _is_utf8(cell: str | None) -> bool:
    """Whether no byte of the cell had to be carried as a surrogate."""
    return not any("\udc80" <= character <= "\udcff" for character in cell or "")
