"""Plain text: its size and its encodings."""

from __future__ import annotations

import codecs

from llamacli.errors import NotTextError

MAX_INPUT_BYTES = 64 << 20
"""Limit of text that is read: more than any context holds."""

_UTF_16: tuple[tuple[bytes, str], ...] = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

SNIFFED = 8192
"""Bytes at the beginning of a file that show whether it is binary."""

_OTHERS = {
    b"%PDF-": ("a PDF document", "pdftotext"),
    b"PK\x03\x04": ("a ZIP archive, as .docx, .odt and .epub files are", "pandoc -t plain"),
    b"{\\rtf": ("an RTF document", "pandoc -t plain"),
    b"\xd0\xcf\x11\xe0": ("an old Microsoft Office document", "LibreOffice"),
    b"\x1f\x8b": ("compressed by gzip", "gunzip"),
    b"\xfd7zXZ": ("compressed by xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unzstd"),
    b"\x89PNG\r\n": ("an image", "tesseract"),
    b"\xff\xd8\xff": ("an image", "tesseract"),
}
"""Files that are not text, by their first bytes: what they are, and a tool that extracts their text."""


def decode(data: bytes, name: str) -> str:
    """Decode UTF-8, or UTF-16 that begins with a byte order mark, without the mark.

    Raises:
        NotTextError: if it is not text; the message names a tool that extracts text, or the first byte that is not text.
    """
    for beginning, (kind, tool) in _OTHERS.items():
        if data.startswith(beginning):
            raise NotTextError(f"{name} is {kind}, not text", hint=f"convert it to text first, for example with {tool}")
    mark, encoding = next((found for found in _UTF_16 if data.startswith(found[0])), (b"", "utf-8"))
    try:
        return data[len(mark) :].decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        start = error.start + len(mark)
        where = f"byte 0x{data[start]:02x} at offset {start:,}"
        if mark:
            raise NotTextError(f"{name} is not UTF-16 text, as its first bytes say: {where}", hint="is it cut off?") from None
        hint = "is it a binary file?" if is_binary(data) else "convert it first, for example with iconv"
        raise NotTextError(f"{name} is not UTF-8 text: {where}", hint=hint) from None


def is_binary(data: bytes) -> bool:
    """Return whether the beginning of a file has a zero byte, which no UTF-8 text has, and is not marked as UTF-16."""
    return b"\0" in data[:SNIFFED] and not data.startswith(tuple(mark for mark, _ in _UTF_16))
