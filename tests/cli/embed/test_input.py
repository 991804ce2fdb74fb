"""The texts of `embed`: standard input by every name, and rows that are wrong in odd ways."""

from __future__ import annotations

import io
import json

import pytest

from llamacli.batch.texts import Item
from llamacli.cli.embed.input import open_texts
from llamacli.cli.embed.options import SourceOptions
from llamacli.cli.framework.console import Console, Terminals
from llamacli.cli.framework.inputs.documents import Access
from llamacli.cli.framework.parsers import parse_path
from llamacli.errors import LlamacliError, UsageError
from tests.support.documents import notebook


def read(stdin: bytes, *texts: str, **options) -> list[Item]:
    console = Console(stdin=io.BytesIO(stdin), stdout=None, stderr=None, terminals=Terminals(), environ={})
    with open_texts(console, texts, SourceOptions(**options), Access(recursive=options.get("recursive", False))) as source:
        return list(source.items())


def said(item: Item) -> str:
    assert isinstance(item.text, LlamacliError)
    return item.text.message


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        (("-", "-"), {}),
        (("-", "cat"), {"input": parse_path("-")}),
        (("cat",), {"file": ("-",), "input": parse_path("-")}),
        ((), {"file": ("-", "-")}),
    ],
)
def test_standard_input_is_read_only_once(texts, options):
    with pytest.raises(UsageError, match="standard input can be read only once"):
        read(b"a\nb\n", *texts, **options)


def test_the_input_format_is_also_that_of_standard_input_among_arguments():
    row = json.dumps({"id": 1, "text": "red"}).encode()
    assert read(row, "cat", "-", input_format="jsonl") == [Item("cat"), Item("red", 1)]
    assert read(row, "cat", "-") == [Item("cat"), Item(row.decode())]
    assert read(b"body\nred\n", "-", input_format="csv", field="body") == [Item("red")]


def test_half_of_a_surrogate_pair_is_an_error_of_its_row():
    rows = [rb'{"text": "a\ud800"}', rb'"\udfff"', rb'{"id": "\ud83d", "text": "b"}', rb'{"id": "\ud83d\ude00", "text": "b"}']
    *wrong, right = read(b"\n".join(rows), input_format="jsonl")
    assert [said(item) for item in wrong] == [
        "line 1: the field text has half of a surrogate pair, \\ud800 at offset 1",
        "line 2: the field text has half of a surrogate pair, \\udfff at offset 0",
        "line 3: the field id has half of a surrogate pair, \\ud83d at offset 0",
    ]
    assert right == Item("b", "\U0001f600")


def test_rows_that_are_not_utf_8():
    (row,) = read(b'{"text": "\xff"}', input_format="jsonl")
    assert said(row) == "invalid JSON at line 1, column 11: byte 0xff is not valid UTF-8"
    text, name = read(b"id,text\n1,\xff\n\xff,a\n", input_format="csv")
    assert (said(text), text.id) == ("line 2: the field text is not UTF-8 text", "1")
    assert (said(name), name.id) == ("line 3: the field id is not UTF-8 text", None)


@pytest.mark.parametrize("table", [b"", b"\n"])
def test_a_table_needs_columns(table):
    with pytest.raises(UsageError) as caught:
        read(table, input_format="csv")
    assert str(caught.value) == "standard input has no columns: its first row must name them"


def test_a_json_array_holds_rows(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"id": 1, "text": "red"}, "green", {"id": "x"}], indent=2))
    *items, last = read(b"", input=path)
    assert items == [Item("red", 1), Item("green")]
    assert (said(last), last.id) == ("line 7 has no field text", "x")
    assert read(b'["a", "b"]', input_format="json") == [Item("a"), Item("b")]
    assert read(b'["a", "b"]') == [Item('["a", "b"]')]


def test_documents_are_texts_with_the_names_of_their_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ipynb").write_bytes(notebook({"cell_type": "markdown", "source": "pump"}))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/b.md").write_text("seal\n")
    (tmp_path / "docs/c.bin").write_bytes(b"\0")
    found = read(b"", "lift", file=("a.ipynb", "docs"), recursive=True)
    assert found == [Item("lift"), Item("pump", "a.ipynb"), Item("seal\n", "docs/b.md")]
    with pytest.raises(UsageError, match="no file with text matches docs/"):
        read(b"", file=("docs/*.bin",))
    with pytest.raises(UsageError, match=r"docs is a directory \(-r reads"):
        read(b"", file=("docs",))
