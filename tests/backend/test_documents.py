"""The child that reads documents."""

from __future__ import annotations

import pytest

from llamacli.backend.child.documents import DocumentReader
from llamacli.errors import UsageError
from tests.support.documents import pdf


def test_text_needs_no_child_and_a_pdf_gets_one(tmp_path):
    (tmp_path / "a.md").write_text("# Notes\n")
    (tmp_path / "b.pdf").write_bytes(pdf("one", "two"))
    with DocumentReader() as reader:
        assert reader.read(tmp_path / "a.md").text == "# Notes\n"
        assert reader._child is None
        found = reader.read(tmp_path / "b.pdf")
        assert [(part.text, part.place) for part in found.parts] == [("one", "page 1"), ("two", "page 2")]
        first = reader._child
        with pytest.raises(UsageError, match=r"b\.pdf is a damaged PDF document"):
            reader.read_bytes(b"%PDF-1.7\n" + b"\0" * 100, "b.pdf")
        assert reader._child is first
    assert not first.is_alive
