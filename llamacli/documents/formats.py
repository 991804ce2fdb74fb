"""The format of a file: by its first bytes, and by its name where those do not decide."""

from __future__ import annotations

from pathlib import PurePath

from llamacli.documents.document import Format
from llamacli.errors import NotTextError, UsageError

ZIP = b"PK\x03\x04"
PDF = b"%PDF-"
_PDF_HEADER = 1024
"""Bytes within which the header of a PDF begins."""

_SUFFIXES: dict[str, Format] = {
    ".htm": "html",
    ".html": "html",
    ".xhtml": "html",
    ".ipynb": "notebook",
    ".pdf": "pdf",
}
_MEDIA_TYPES: dict[str, Format] = {
    "application/pdf": "pdf",
    "application/x-ipynb+json": "notebook",
    "application/xhtml+xml": "html",
    "text/html": "html",
}
_ARCHIVES: dict[bytes, Format] = {
    b"application/epub+zip": "epub",
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.text-template": "odt",
}
"""By the file `mimetype` of the archive."""

_OPENDOCUMENT = b"application/vnd.oasis.opendocument."
_AS_PDF = "export it as PDF, for example with LibreOffice"
_OTHER_ARCHIVES = (
    ("ppt", "a PowerPoint presentation", _AS_PDF),
    ("xl", "an Excel workbook", "export a sheet as CSV, which --input reads"),
    ("", "an OpenDocument file", _AS_PDF),
)
"""Documents that are not read, by a folder in their archive (none for OpenDocument): what they are, and what helps."""

_ENCRYPTED = b"\xd0\xcf\x11\xe0"
"""The beginning of a .docx file with a password: a container that old Office documents have, too."""


def may_be_document(beginning: bytes) -> bool:
    """Return whether a file that begins so may be a document, though it is binary."""
    return beginning.startswith(ZIP) or PDF in beginning[:_PDF_HEADER]


def format_of(data: bytes, name: str, media_type: str = "") -> Format:
    """Return the format of a file's bytes; "text" for everything that is not a known document.

    `media_type` is the Content-Type of a server; the name counts only without one.

    Raises:
        UsageError: if an archive is damaged, encrypted, or not a text document (NotTextError).
    """
    if data.startswith(_ENCRYPTED) and PurePath(name).suffix.lower() == ".docx":
        raise UsageError(f"{name} is encrypted with a password", hint="save it without one, for example with LibreOffice")
    return _archive_format(data, name) if data.startswith(ZIP) else _plain_format(data, name, media_type)


def is_plain(data: bytes, name: str, media_type: str = "") -> bool:
    """Return whether a file is plain text, or of a format that is not read. Archives are not opened."""
    return not data.startswith(ZIP) and _plain_format(data, name, media_type) == "text"


def _plain_format(data: bytes, name: str, media_type: str) -> Format:
    """Return the format of data that are not an archive."""
    if media_type:
        named = _MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower(), "text")
    else:
        named = _SUFFIXES.get(PurePath(name).suffix.lower(), "text")
    if data.startswith(PDF) or (named == "pdf" and PDF in data[:_PDF_HEADER]):
        return "pdf"
    return "text" if named == "pdf" else named


def _archive_format(data: bytes, name: str) -> Format:
    import io
    import zipfile

    from llamacli.documents.archive import archive_errors

    with archive_errors(name), zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = set(archive.namelist())
        kind = archive.open("mimetype").read(100).strip() if "mimetype" in members else b""
    if kind in _ARCHIVES:
        return _ARCHIVES[kind]
    folders = {member.partition("/")[0] for member in members}
    if "word" in folders:
        return "docx"
    for folder, what, hint in _OTHER_ARCHIVES:
        if folder in folders or (kind.startswith(_OPENDOCUMENT) and folder == ""):
            raise NotTextError(f"{name} is {what}, not a text", hint=hint)
    raise NotTextError(f"{name} is a ZIP archive, but none that holds a text", hint="unpack it, and give the files in it")
