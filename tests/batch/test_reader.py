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
    assert [row.number for row in rows] == [0, 2, 3, 4]
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
    assert [(row.fields, row.problem) for row in read(data, "csv")[3:]] == [
        ({}, "line 5: the field id is not UTF-8 text"),
        ({"id": "4", "text": "d"}, None),
    ]
    assert summed_up(read(data, "csv", columns=("text", "id"))) == [
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
        read(b"id,text\n", "csv", columns=("body",), required=("body",), name="rows.csv")
    with pytest.raises(UsageError, match="the input has no columns"):
        read(b"", "csv", columns=("body",), required=("body",))
    assert read(b"", "csv") == []


@pytest.mark.parametrize("how", [{"columns": ("text",)}, {"required": ("text",)}])
def test_a_column_in_use_has_a_name_of_its_own(how):
    with pytest.raises(UsageError, match=r"rows\.csv has 2 columns text"):
        read(b"text,id,text\na,1,b\n", "csv", name="rows.csv", **how)
    assert summed_up(read(b"text,,\na,1,2\n", "csv", columns=("text",))) == [({"text": "a"}, None, 2)]


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


ARRAY = b"""\xef\xbb\xbf
[
  {"id": 1, "text": "a, ]} \\" \\\\"},
  "plain", [1], 5,
  {"text": [1, {"b": [2]}, 3]}
]
"""


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 16])
def test_the_elements_of_an_array_are_rows(step):
    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read(min(size or step, step))

    rows = list(read_rows(Slow(ARRAY), "json", text_field="text"))
    assert summed_up(rows) == [
        ({"id": 1, "text": 'a, ]} " \\'}, None, 3),
        ({"text": "plain"}, None, 4),
        ({}, "line 4 is neither a JSON object nor a string", 4),
        ({}, "line 4 is neither a JSON object nor a string", 4),
        ({"text": [1, {"b": [2]}, 3]}, None, 5),
    ]


@pytest.mark.parametrize(
    ("array", "count", "problem"),
    [
        (b"[]", 0, None),
        (b" [ ] \n", 0, None),
        (b'["a",]', 2, "invalid JSON at line 1, column 6: expecting value"),
        (b'["a",,"b"]', 3, "invalid JSON at line 1, column 6: expecting value"),
        (b'["a",\n  {"x":\n  }]', 2, "invalid JSON at line 3, column 3: expecting value"),
        (b'["a", {"x" 1}, "b"]', 3, "invalid JSON at line 1, column 12: expecting ':' delimiter"),
        (b'["\xc3\xa9", x, "b"]', 3, "invalid JSON at line 1, column 7: expecting value"),
        (b'["a", }, "b"]', 3, "invalid JSON at line 1, column 7: expecting value"),
        (b'["a",\n"b', 2, "line 2: the array is not closed"),
        (b"[", 1, "line 1: the array is not closed"),
        (b'["a"]\n["b"]', 2, "line 2: text after the end of the array"),
    ],
)
def test_arrays_that_are_wrong_have_rows_that_say_so(array, count, problem):
    rows = read(array, "json")
    assert (len(rows), [row.problem for row in rows if row.problem]) == (count, [problem] if problem else [])
    assert [row.number for row in rows] == list(range(count))


def test_what_does_not_begin_with_a_bracket_is_json_lines():
    rows = read(b'\n\xef\xbb\xbf\n{"a": 1}\n[2]\nbroken\n', "json")
    assert [(row.fields, row.line) for row in rows[-3:]] == [({"a": 1}, 3), ({}, 4), ({}, 5)]
    assert summed_up(read(b'"a"', "json")) == [({"prompt": "a"}, None, 1)]
    assert read(b"", "json") == read(b" \n", "json") == []
    assert read(b'["a"]\n', "jsonl")[0].problem == "line 1 is neither a JSON object nor a string"


def test_a_large_array_is_read_in_little_memory_and_time(monkeypatch):
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 1 << 20)

    def stream(*parts: bytes) -> io.BufferedReader:
        class Long(io.RawIOBase):
            def __init__(self) -> None:
                self.data = iter(parts)

            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int:
                data = next(self.data, b"")
                buffer[: len(data)] = data
                return len(data)

        return io.BufferedReader(Long())

    element = b'{"text": "' + b"x" * 4000 + b'"}'
    rows = read_rows(stream(b"[", *[element + b","] * 1_999, element + b"]"), "json")
    assert sum(len(row.fields["text"]) for row in rows) == 8_000_000
    with pytest.raises(UsageError, match="the row at line 1 is longer than 1 MiB"):
        list(read_rows(stream(b'["', *[b"x" * 4000] * 1000), "json"))
