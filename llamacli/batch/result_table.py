"""Results as other formats than JSON lines: written when all of them are there, from the lines that a run has kept."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from llamacli.batch.formats import ResultFormat
from llamacli.batch.output_file import naming_file, sole_writer
from llamacli.errors import UsageError
from llamacli.json_text import parse_json
from llamacli.openai.batch_columns import ALWAYS, COUNTS, OWN_COLUMNS, cells

GROUP = 4096
"""Rows in a row group of Parquet."""

_CLASH = "answer_"
"""The prefix of a column of ours whose name a column of the input has."""

Table = Iterable[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its name, its key in the input or in the result, and the type of its values."""

    name: str
    key: str
    is_input: bool
    type: type


def kept_file(target: Path) -> Path:
    """Return the path of the JSON lines from which the file of results is made."""
    return target.with_name(target.name + ".partial")


def require_writer(kind: ResultFormat) -> None:
    """Raise UsageError if the format cannot be written here."""
    if kind == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401  # only whether it is there
        except ImportError:
            raise UsageError("writing Parquet needs pyarrow", hint="pip install 'llamacli[parquet]'") from None


def publish(target: Path, kind: ResultFormat) -> None:
    """Write the file of results from its kept JSON lines, and remove these. The file appears whole or not at all.

    Raises:
        LlamacliError: if it cannot be written. The kept lines stay.
    """
    source, real = kept_file(target), target.resolve()
    part = real.with_name(f".{real.name}.table")
    with sole_writer(source), naming_file(target):
        try:
            _write(source, part, kind)
            part.replace(real)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        source.unlink()


def _write(source: Path, part: Path, kind: ResultFormat) -> None:
    if kind == "parquet":
        _write_parquet(part, source)
        return
    with part.open("w", encoding="utf-8", newline="") as file:
        _TEXT_WRITERS[kind](file, source)
        file.flush()
        os.fsync(file.fileno())


def _results(source: Path) -> Iterator[dict[str, Any]]:
    with source.open("rb") as lines:
        for line in lines:
            yield parse_json(line)


def _columns(source: Path) -> list[Column]:
    """The columns of all results: what names the row, the input's columns, and the answer's."""
    own: set[str] = set(ALWAYS)
    types: dict[str, set[type]] = {}
    for result in _results(source):
        own.update(cells(result))
        for name, value in _input(result).items():
            types.setdefault(name, set()).update([] if value is None else [_type(value)])
    inputs = [Column(name, name, True, _common_type(found)) for name, found in types.items()]
    ours = [
        Column(_CLASH + name if name in types else name, name, False, int if name in COUNTS else str)
        for name in OWN_COLUMNS
        if name in own and not (name in types and name in ("id", "custom_id"))
    ]
    front = sum(column.key in ("row", "id", "custom_id") for column in ours)
    return ours[:front] + inputs + ours[front:]


def _input(result: dict[str, Any]) -> dict[str, Any]:
    found = result.get("input")
    return found if isinstance(found, dict) else {}


def _type(value: Any) -> type:
    """The type of a value in a table. A whole number of more than 64 bits is text."""
    is_large = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
    return type(value) if isinstance(value, bool | int | float) and not is_large else str


def _common_type(types: set[type]) -> type:
    """The type of a column's values: text, unless all of them are numbers or truth values."""
    if types == {float, int}:
        return float
    return types.pop() if len(types) == 1 else str


def _rows(source: Path, columns: list[Column]) -> Table:
    for result in _results(source):
        ours, inputs = cells(result), _input(result)
        yield tuple(_value((inputs if column.is_input else ours).get(column.key), column) for column in columns)


def _value(value: Any, column: Column) -> Any:
    """A value as its column has it: a list or an object is JSON text, half of a character its escape."""
    if value is None or column.type is not str:
        return float(value) if column.type is float and value is not None else value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def _write_json(file: TextIO, source: Path) -> None:
    separator = "[\n"
    with source.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            file.write(separator + line.removesuffix("\n"))
            separator = ",\n"
    file.write("\n]\n" if separator == ",\n" else "[]\n")


def _table_writer(delimiter: str) -> Callable[[TextIO, Path], None]:
    def write(file: TextIO, source: Path) -> None:
        columns = _columns(source)
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow([column.name for column in columns])
        writer.writerows(map(_texts, _rows(source, columns)))

    return write


def _texts(row: tuple[Any, ...]) -> list[Any]:
    return [json.dumps(value) if isinstance(value, bool) else value for value in row]


_TEXT_WRITERS = {"json": _write_json, "csv": _table_writer(","), "tsv": _table_writer("\t")}


def _write_parquet(part: Path, source: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    columns = _columns(source)
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(column.name, types[column.type]) for column in columns])
    names = [column.name for column in columns]
    with ParquetWriter(part, schema) as file:
        for group in _groups(_rows(source, columns)):
            file.write_table(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in group], schema=schema))


def _groups(rows: Table) -> Iterator[list[tuple[Any, ...]]]:
    group: list[tuple[Any, ...]] = []
    for row in rows:
        group.append(row)
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group
