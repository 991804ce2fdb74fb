"""Read the bytes of a document: the one entry for all formats."""

from __future__ import annotations

from llamacli.documents.document import Document, Format, Part
from llamacli.documents.formats import format_of
from llamacli.documents.text import decode
from llamacli.errors import MissingPackageError

_NAMES: dict[Format, str] = {
    "pdf": "a PDF document",
    "docx": "a Word document",
    "odt": "an OpenDocument text",
    "epub": "an EPUB book",
    "html": "an HTML page",
}


def read_bytes(data: bytes, name: str, media_type: str = "") -> Document:
    """Return the document in the bytes of a file. `name` is the name of the file, also in messages.

    `media_type` is the Content-Type of a server, such as `text/html; charset=utf-8`.

    Raises:
        UsageError: if it is damaged, locked, without text, or of a format that is not read
            (NotTextError), or needs a package that is missing (MissingPackageError).
        CapacityError: if it unpacks to more than the limits.
    """
    kind = format_of(data, name, media_type)
    try:
        return Document(name, kind, _read(kind, data, name, media_type))
    except ImportError as error:
        hint = "pip install 'llamacli[documents]'"
        raise MissingPackageError(f"{name} is {_NAMES[kind]}, which needs the package {error.name}", hint=hint) from error


def _read(kind: Format, data: bytes, name: str, media_type: str) -> tuple[Part, ...]:
    match kind:
        case "text":
            return (Part(_decoded(data, name, media_type)),)
        case "notebook":
            from llamacli.documents.notebook import read_notebook

            return read_notebook(data, name)
        case "html":
            from llamacli.documents.html import read_html

            return read_html(data, name, media_type)
        case "pdf":
            from llamacli.documents.pdf import read_pdf

            return read_pdf(data, name)
        case "docx":
            from llamacli.documents.word import read_docx

            return read_docx(data, name)
        case "odt":
            from llamacli.documents.opendocument import read_odt

            return read_odt(data, name)
        case "epub":
            from llamacli.documents.book import read_epub

            return read_epub(data, name)


def _decoded(data: bytes, name: str, media_type: str) -> str:
    """Return plain text, in the charset of the Content-Type if the bytes fit it."""
    if "charset" in media_type.lower():
        from llamacli.documents.html import charset_of

        try:
            return data.decode(charset_of(media_type) or "utf-8").removeprefix("\ufeff")
        except (LookupError, UnicodeDecodeError):
            pass
    return decode(data, name)
