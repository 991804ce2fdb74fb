"""The one reader of rows: formats, problems of single rows, and what ends a stream."""

from __future__ import annotations

import io
from typing import Any

import pytest

from llamacli.batch import reader
from llamacli.batch.formats import RowFormat, format_of
from llamacli.batch.reader import open_rows, read_rows
from llamacli.errors import UsageError
from llamacli.openai.batch_row import Row


def read(data: bytes, row_format: RowFormat, **how: Any) -> list[Row]:
    return list(read_rows(io.BytesIO(data), row_format, **how))


def summed_up(rows: list[Row]) -> list[tuple[dict[str, Any], str | None, int]]:
    return [(row.fields, row.problem, row.line) for row in rows]


def test_lines_are_texts_without_their_ends_and_the_byte_order_mark():
    rows = read(b"\xef\xbb\xbffirst\r\n\nsecond\n\xff\nlast", "lines", text_field="t")
    assert [row.number for row in rows] == [0, 1, 2, 3]
    assert summed_up(rows) == [
        ({"t": "first"}, None, 1),
        ({"t": "second"}, None, 3),
        ({}, "line 4 is not UTF-8 text: byte 0xff at offset 0", 4),
        ({"t": "last"}, None, 5),
    ]
    assert len(read(b"a\n\nb\n", "lines", keep_blank_lines=True)) == 3
    assert len(read(b'"a"\n\n"b"\n', "jsonl", keep_blank_lines=True)) == 2


def test_json_lines_that_are_wrong_do_not_end_the_stream():
    rows = read(b'{"a": 1}\n\n"text"\n{"a": }\n[1]\n' + b"[" * 1000 + b"\n" + b"1" * 5000 + b'\n{"b": NaN}\n', "jsonl")
    assert [row.fields for row in rows[:2]] == [{"a": 1}, {"prompt": "text"}]
    assert [row.problem for row in rows[2:]] == [
        "invalid JSON at line 4, column 7: expecting value",
        "line 5 is neither a JSON object nor a string",
        "invalid JSON at line 6, column 501: nested more than 500 deep",
        "invalid JSON at line 7, column 1: an integer has more than 4300 digits",
        "invalid JSON at line 8, column 7: NaN is not a JSON value",
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_tables_with_any_line_end(end):
    data = end.join([b"id,text", b'1,"a, b"', b'2,"c', b'd"', b"", b"3,e"])
    lf = end.decode()
    assert summed_up(read(data, "csv")) == [
        ({"id": "1", "text": "a, b"}, None, 2),
        ({"id": "2", "text": f"c{lf}d"}, None, 4),
        ({"id": "3", "text": "e"}, None, 6),
    ]


def test_rows_of_tables_that_are_wrong():
    data = b"id,text\n1\n2,a,b\n3,\xff\n\xff,c\n4,d\n"
    assert summed_up(read(data, "csv")) == [
        ({"id": "1"}, "line 2 has 1 field, not the 2 fields of the header", 2),
        ({"id": "2", "text": "a"}, "line 3 has 3 fields, not the 2 fields of the header", 3),
        ({"id": "3"}, "line 4: the field text is not UTF-8 text", 4),
        ({"text": "c"}, "line 5: the field id is not UTF-8 text", 5),
        ({"id": "4", "text": "d"}, None, 6),
    ]


def test_only_the_columns_in_use_must_be_text():
    rows = read(b"id,text,note\n1,a,\xff\n", "csv", columns=("text", "id"))
    assert summed_up(rows) == [({"id": "1", "text": "a"}, None, 2)]
    with pytest.raises(UsageError, match=r"rows\.csv has no column body"):
        read(b"id,text\n", "csv", columns=("body",), name="rows.csv")
    with pytest.raises(UsageError, match="the input has no columns"):
        read(b"", "csv", columns=("body",))
    assert read(b"", "csv") == []


def test_a_line_that_is_too_long_ends_the_stream(monkeypatch):
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 1 << 20)
    for row_format in ("lines", "jsonl", "csv"):
        with pytest.raises(UsageError, match="line 2 is longer than 1 MiB"):
            read(b"a,b\n" + b"x" * (1 << 20) + b"x\n", row_format)


def test_a_stream_that_cannot_be_read(tmp_path):
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise OSError(5, "Input/output error")

    for row_format in ("lines", "csv"):
        with pytest.raises(UsageError, match="cannot read standard input: Input/output error"):
            list(read_rows(io.BufferedReader(Broken()), row_format, name="standard input"))
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=f"cannot read {path}"):
            open_rows(path)


def test_formats_by_name():
    assert format_of("a.NDJSON", "lines") == "jsonl"
    assert format_of("a.unknown", "lines") == "lines"
