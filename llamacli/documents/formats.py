"""The format of a file: by its first bytes, and by its name where those do not tell."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePath

from llamacli.documents.document import Format
from llamacli.errors import UsageError

_ZIP = b"PK\x03\x04"
_PDF = b"%PDF-"
_PDF_HEADER = 1024
"""A PDF's header may stand behind as many other bytes."""

_SUFFIXES: dict[str, Format] = {
    ".htm": "html",
    ".html": "html",
    ".xhtml": "html",
    ".ipynb": "notebook",
    ".pdf": "pdf",
}
_ARCHIVES: dict[bytes, Format] = {
    b"application/epub+zip": "epub",
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.text-template": "odt",
}
"""By the file `mimetype` of the archive."""


def format_of(data: bytes, name: str) -> Format:
    """Return the format of a file's bytes; "text" for everything that is not a known document.

    Raises:
        UsageError: if it is an archive that is damaged, or that is no document.
    """
    if data.startswith(_ZIP):
        return _archive_format(data, name)
    by_name = _SUFFIXES.get(PurePath(name).suffix.lower(), "text")
    if _PDF in data[:_PDF_HEADER] and (data.startswith(_PDF) or by_name == "pdf"):
        return "pdf"
    return "text" if by_name == "pdf" and data else by_name


def _archive_format(data: bytes, name: str) -> Format:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = set(archive.namelist())
            kind = archive.open("mimetype").read(100).strip() if "mimetype" in members else b""
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        raise UsageError(f"{name} is a damaged ZIP archive, as .docx, .odt and .epub files are: {error}") from error
    if "word/document.xml" in members:
        return "docx"
    if kind in _ARCHIVES:
        return _ARCHIVES[kind]
    raise UsageError(f"{name} is a ZIP archive, but none that holds a text", hint="unpack it, and give the files in it")
