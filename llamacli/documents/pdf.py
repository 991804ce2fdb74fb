"""The text of PDF documents, page by page, with pypdf."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from llamacli.documents.damage import DAMAGE
from llamacli.documents.document import Part
from llamacli.errors import UsageError
from llamacli.units import counted

if TYPE_CHECKING:
    from pypdf import PdfReader


def read_pdf(data: bytes, name: str) -> tuple[Part, ...]:
    """Return the pages that have text.

    Raises:
        UsageError: if it is damaged, needs a password, or has no text.
        ImportError: if pypdf is not installed.
    """
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns even of what it can read
    try:
        reader = PdfReader(io.BytesIO(data))
        _unlock(reader, name)
        texts = [page.extract_text() for page in reader.pages]
    except UsageError:
        raise
    except (PyPdfError, *DAMAGE) as error:
        detail = str(error).strip().splitlines()
        reason = detail[0] if detail and isinstance(error, PyPdfError) else "its objects contradict each other"
        raise UsageError(f"{name} is a damaged PDF document: {reason}", hint="qpdf or mutool may repair it") from error
    parts = tuple(Part(text.strip(), f"page {number}") for number, text in enumerate(texts, 1) if text.strip())
    if not parts:
        what = f"{counted(len(texts), 'page')} without text"
        raise UsageError(f"{name} has {what}: it is probably scanned", hint="ocrmypdf adds the text of a scanned document")
    return parts


def _unlock(reader: PdfReader, name: str) -> None:
    """Open an encrypted document without a password: most are only protected from changes."""
    from pypdf.errors import DependencyError

    if not reader.is_encrypted:
        return
    try:
        is_open = bool(reader.decrypt(""))
    except DependencyError as error:
        raise UsageError(f"{name} is encrypted with AES", hint="pip install 'llamacli[documents]'") from error
    if not is_open:
        raise UsageError(f"{name} is encrypted with a password", hint="qpdf --decrypt --password=… writes one that is not")
