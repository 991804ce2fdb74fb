"""Documents as text: every format, and what is wrong with them."""

from __future__ import annotations

import io
import re

import pytest

from llamacli.documents.document import Document, Part
from llamacli.documents.read import read_bytes
from llamacli.errors import UsageError
from tests.support import documents


def test_text_is_taken_as_it_is():
    diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\r\n+new\n"
    assert read_bytes(diff.encode(), "x.diff") == Document("x.diff", "text", (Part(diff),))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_tells_the_encoding(encoding):
    marked = "\ufeffGrüße 🦙" if encoding != "utf-8-sig" else "Grüße 🦙"
    document = read_bytes(marked.encode(encoding), "x.txt")
    assert (document.text, document.has_lines) == ("Grüße 🦙", True)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_pdf_has_pages(compressed):
    document = read_bytes(documents.pdf("The pump leaks.", "", "Größe (new)", compressed=compressed), "a.bin")
    assert document.format == "pdf"
    assert document.parts == (Part("The pump leaks.", "page 1"), Part("Größe (new)", "page 3"))
    assert document.text == "The pump leaks.\n\nGröße (new)"
    assert not document.has_lines


def _encrypted(user: str, algorithm: str) -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(documents.pdf("secret"))))
    writer.encrypt(user_password=user, owner_password="owner", algorithm=algorithm)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-256"])
def test_a_pdf_that_only_forbids_changes_is_read(algorithm):
    assert read_bytes(_encrypted("", algorithm), "a.pdf").text == "secret"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (documents.pdf("", ""), "x.pdf has 2 pages without text: it is probably scanned (ocrmypdf adds"),
        (documents.pdf("x")[:200], "x.pdf is a damaged PDF document: "),
        (b"%PDF-1.7\n" + b"\0" * 100, "x.pdf is a damaged PDF document: "),
        (b"PK\x03\x04rest", "x.pdf is a damaged ZIP archive"),
        (b"{\\rtf1 rest}", "x.pdf is an RTF document, not text (convert it to text first, for example with pandoc -t plain)"),
        (b"\x7fELF\0\xff", "x.pdf is not UTF-8 text: byte 0xff at offset 5 (is it a binary file?)"),
        (_encrypted("user", "AES-256"), "x.pdf is encrypted with a password (qpdf --decrypt"),
    ],
)
def test_what_cannot_be_read(data, says):
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        read_bytes(data, "x.pdf")
    assert "\n" not in str(caught.value)
