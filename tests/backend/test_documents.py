"""The child that reads documents."""

from __future__ import annotations

import pytest

from llamacli.backend.child.documents import DocumentReader
from llamacli.errors import CapacityError, UsageError
from tests.support.documents import docx, pdf


def test_text_needs_no_child_and_a_pdf_gets_one(tmp_path):
    (tmp_path / "a.md").write_text("# Notes\n")
    (tmp_path / "b.pdf").write_bytes(pdf("one", "two"))
    with DocumentReader() as reader:
        assert reader.read(tmp_path / "a.md").text == "# Notes\n"
        assert not reader._child.is_alive
        found = reader.read(tmp_path / "b.pdf")
        assert [(part.text, part.place) for part in found.parts] == [("one", "page 1"), ("two", "page 2")]
        first = reader._child._child
        with pytest.raises(UsageError, match=r"b\.pdf is a damaged PDF document"):
            reader.read_bytes(b"%PDF-1.7\n" + b"\0" * 100, "b.pdf")
        assert reader._child._child is first
    assert not first.is_alive


@pytest.mark.parametrize(
    ("limits", "says"),
    [({"seconds": 0.1}, "x.docx: reading it takes too much time"), ({"memory": 1 << 20}, "takes too much memory")],
)
def test_a_document_that_takes_too_much_ends_the_child_and_the_next_gets_a_new_one(limits, says):
    with DocumentReader(**limits) as reader:
        with pytest.raises(CapacityError, match=says):
            reader.read_bytes(docx("<w:p/>" * 500_000), "x.docx")
        assert not reader._child.is_alive
        assert reader.read_bytes(b'{"cells": [{"source": "a"}]}', "x.ipynb").text == "a"


def test_an_error_of_the_document_has_its_name_once():
    with DocumentReader() as reader, pytest.raises(CapacityError) as caught:
        reader.read_bytes(docx(" " * (65 << 20)), "x.docx")
    assert str(caught.value) == "x.docx unpacks to more than 64 MiB (is it a zip bomb?)"
