"""Small documents of every kind, made by hand."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any


def pdf(*pages: str, compressed: bool = False) -> bytes:
    """Return a PDF document with a line of text on each page; a page of "" has none, as scanned ones have."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, text in enumerate(pages):
        escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("cp1252")
        content = b"BT /F1 12 Tf 72 700 Td (" + escaped + b") Tj ET" if text else b""
        filters = b""
        if compressed:
            content, filters = zlib.compress(content), b" /Filter /FlateDecode"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * number} 0 R "
            f"/Resources << /Font << /F1 3 0 R >> >> >>".encode(),
            b"<< /Length %d%s >>\nstream\n%s\nendstream" % (len(content), filters, content),
        ]
    return _pdf_file(objects)


def _pdf_file(objects: Sequence[bytes]) -> bytes:
    data, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    data += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(data)


def archive(members: dict[str, str | bytes], *, mimetype: str = "") -> bytes:
    """Return a ZIP archive, with the file `mimetype` first, as ODF and EPUB have it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        if mimetype:
            written.writestr("mimetype", mimetype, zipfile.ZIP_STORED)
        for name, content in members.items():
            written.writestr(name, content)
    return file.getvalue()


WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"


def docx(body: str, *, head: str = "", **others: str) -> bytes:
    """Return a Word document. `body` is WordprocessingML in the namespace w, `head` comes before its document."""
    return archive(
        {
            "[Content_Types].xml": f'<Types xmlns="{_TYPES}"><Default Extension="xml" ContentType="application/xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{_RELATIONS}">'
            f'<Relationship Id="r1" Type="{_OFFICE}" Target="word/document.xml"/></Relationships>',
            "word/document.xml": f'{head}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>',
            **others,
        }
    )


def word_paragraph(text: str, style: str = "") -> str:
    """Return a paragraph of a Word document."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


_ODF = "urn:oasis:names:tc:opendocument:xmlns:"


def odt(body: str, *, head: str = "", **others: str) -> bytes:
    """Return an OpenDocument text. `body` is its text, with the namespaces text and table."""
    return archive(
        {
            "content.xml": f'<?xml version="1.0"?>{head}<office:document-content xmlns:office="{_ODF}office:1.0" '
            f'xmlns:text="{_ODF}text:1.0" xmlns:table="{_ODF}table:1.0"><office:automatic-styles/><office:body>'
            f"<office:text>{body}</office:text></office:body></office:document-content>",
            **others,
        },
        mimetype="application/vnd.oasis.opendocument.text",
    )


def epub(*sections: str, others: dict[str, str] | None = None) -> bytes:
    """Return a book of sections, each the body of an XHTML page, after a table of contents."""
    items = "".join(
        f'<item id="s{number}" href="text/s%20{number}.xhtml" media-type="application/xhtml+xml"/>'
        for number in range(len(sections))
    )
    spine = "".join(f'<itemref idref="s{number}"/>' for number in range(len(sections)))
    page = '<!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title></head><body>{}</body></html>'
    return archive(
        {
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
            "OPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
            '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
            f'{items}</manifest><spine><itemref idref="nav"/>{spine}</spine></package>',
            "OPS/nav.xhtml": page.format("<p>contents</p>"),
            **{f"OPS/text/s {number}.xhtml": page.format(section) for number, section in enumerate(sections)},
            **(others or {}),
        },
        mimetype="application/epub+zip",
    )


def notebook(*cells: dict[str, Any], language: str = "python") -> bytes:
    """Return a notebook."""
    return json.dumps({"nbformat": 4, "metadata": {"language_info": {"name": language}}, "cells": cells}).encode()
