"""Text that is read: its size, and the encodings that are refused."""

from __future__ import annotations

from llamacli.errors import UsageError

MAX_INPUT_BYTES = 64 << 20
"""Limit of text that is read: more than any context holds."""

_DOCUMENTS = {
    b"%PDF-": ("a PDF document", "pdftotext"),
    b"PK\x03\x04": ("a ZIP archive, as .docx, .odt and .epub files are", "pandoc -t plain"),
    b"{\\rtf": ("an RTF document", "pandoc -t plain"),
    b"\xd0\xcf\x11\xe0": ("an old Microsoft Office document", "antiword or LibreOffice"),
}
"""Documents that are not text, by their first bytes: what they are, and what makes text of them."""


def decode(data: bytes, name: str) -> str:
    """Decode UTF-8 text without its byte order mark. Raises UsageError with the offset of the first other byte."""
    for beginning, (kind, tool) in _DOCUMENTS.items():
        if data.startswith(beginning):
            raise UsageError(f"{name} is {kind}, not text", hint=f"convert it to text first, for example with {tool}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{name} is UTF-16 text", hint="convert it first, for example with iconv -f UTF-16 -t UTF-8")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        where = f"byte 0x{data[error.start]:02x} at offset {error.start:,}"
        hint = "is it a binary file?" if b"\0" in data[:8192] else "convert it first, for example with iconv"
        raise UsageError(f"{name} is not UTF-8 text: {where}", hint=hint) from None
