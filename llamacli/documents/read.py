"""Read the bytes of a document: the one entry for all formats."""

from __future__ import annotations

from collections.abc import Callable

from llamacli.documents.document import Document, Format, Part
from llamacli.documents.formats import format_of
from llamacli.documents.pdf import read_pdf
from llamacli.documents.text import decode
from llamacli.errors import UsageError

MAX_SECONDS = 60.0
"""Limit of reading one document: processor time."""

MAX_MEMORY = 1 << 30
"""Limit of reading one document: growth of the reader's memory."""

_READERS: dict[Format, Callable[[bytes, str], tuple[Part, ...]]] = {"pdf": read_pdf}
_NAMES: dict[Format, str] = {
    "pdf": "a PDF document",
    "docx": "a Word document",
    "odt": "an OpenDocument text",
    "epub": "an EPUB book",
    "html": "an HTML page",
    "notebook": "a notebook",
}


def read_bytes(data: bytes, name: str) -> Document:
    """Return the document that the bytes of a file are. `name` is that of the file, and names it in messages.

    Raises:
        UsageError: if it is damaged, locked, without text, or of a format that is not read, or needs a package that is missing.
        CapacityError: if it unpacks to more than the limits.
    """
    kind = format_of(data, name)
    if kind == "text":
        return Document(name, kind, (Part(decode(data, name)),))
    try:
        return Document(name, kind, _READERS[kind](data, name))
    except ImportError as error:
        hint = "pip install 'llamacli[documents]'"
        raise UsageError(f"{name} is {_NAMES[kind]}, which needs the package {error.name}", hint=hint) from error
