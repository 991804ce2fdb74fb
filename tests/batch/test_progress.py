"""Progress by the rows that are done."""

from __future__ import annotations

import io

import pytest

from llamacli.batch.progress import RowProgress, format_left, input_size
from llamacli.batch.reader import read_rows
from llamacli.batch.summary import Tally
from llamacli.batch.texts import Item, TextSource, read_items


@pytest.mark.parametrize("row_format", ["lines", "json", "jsonl", "csv"])
def test_every_byte_of_an_input_belongs_to_a_row(row_format):
    data = b'\xef\xbb\xbf"text"\n"first"\n\n"second"\r\n"\xc3\xa9"'
    rows = list(read_rows(io.BytesIO(data), row_format))
    assert [row.end for row in rows] == sorted({row.end for row in rows})
    assert rows[-1].end == len(data)


def test_an_array_too():
    data = b'[1,\n {"prompt": "x"},"y"]'
    assert [row.end for row in read_rows(io.BytesIO(data), "json")] == [3, 21, len(data)]


def test_rows_that_are_read_ahead_are_not_done():
    data = b'{"prompt": "x"}\n' * 10
    now = [0.0]
    progress = RowProgress(len(data), clock=lambda: now[0])
    assert len(list(progress.watch(read_rows(io.BytesIO(data), "jsonl")))) == 10
    assert (progress.done, progress.left) == (0, "")
    for number in (0, 1, 2, 3):
        progress.finish(number, earlier=True)
    assert (progress.done, progress.left) == (64, "")
    now[0] = 10.0
    progress.finish(7)
    progress.finish(5)
    assert (progress.done, progress.left) == (96, ", 0:20 left")
    for number in (4, 6, 8, 9):
        progress.finish(number)
    assert (progress.done, progress.left) == (len(data), "")


def test_the_time_left():
    assert format_left(10, 1, 7) == ", 1:00 left"
    assert format_left(10, 1, 1000) == ", 2:46:30 left"
    assert format_left(10, 5, None) == format_left(10, 0, 5) == format_left(10, 5, 5) == format_left(1, 3, 5, earlier=3) == ""


def test_the_size_of_an_input(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    with (tmp_path / "x").open("rb") as file:
        file.read(2)
        assert input_size(file) == 3
    assert input_size(io.BytesIO(b"123")) is None


def test_texts_count_by_number_or_bytes():
    counted = TextSource([Item("a"), Item("b"), Item("c")], 3)
    assert counted.skip(1) == 1
    assert len(list(counted.texts())) == 2
    assert counted.done == 1
    counted.finish(1)
    counted.finish(2)
    assert (counted.done, counted.skipped) == (3, 1)
    rows = read_items(io.BytesIO(b"red\n\xff\n\nblue"), "lines", name="x", field="text")
    source = TextSource(rows, 11, in_bytes=True)
    assert source.skip(1) == 1
    assert len(list(source.texts())) == 3
    source.finish(2)
    assert (source.done, source.skipped) == (7, 4)
    source.finish(3)
    assert source.done == 11


def test_the_summary_says_that_a_run_was_interrupted():
    tally = Tally()
    tally.rows = 2
    assert tally.summary().startswith("2 rows, 0 failed · ")
    assert tally.summary(interrupted=True).startswith("interrupted after 2 rows, 0 failed · ")
    assert tally.status(", 0:20 left") == "2 rows, 0.0 tokens/s, 0:20 left"
