"""Word documents as Markdown: mammoth makes HTML of them."""

from __future__ import annotations

import io
from typing import Any

from llamacli.documents.archive import Archive
from llamacli.documents.damage import DAMAGE
from llamacli.documents.document import Part
from llamacli.documents.html import markdown_of
from llamacli.documents.xml import parse_xml
from llamacli.errors import UsageError


def read_docx(data: bytes, name: str) -> tuple[Part, ...]:
    """Return the text of a Word document. Pictures are left out, and files outside it are not read.

    Raises:
        UsageError: if it is damaged or has no text.
        CapacityError: if it unpacks to too much.
    """
    import mammoth

    archive = Archive(data, name)
    for member in archive.members:
        if member.endswith((".xml", ".rels")):
            parse_xml(archive.read(member), name, start=lambda _element, _attributes: None)
    try:
        html = mammoth.convert_to_html(io.BytesIO(data), convert_image=_without_pictures).value
    except DAMAGE as error:
        raise UsageError(f"{name} is a damaged Word document: its parts contradict each other") from error
    text = markdown_of(html, name)
    if not text:
        raise UsageError(f"{name} has no text")
    return (Part(text),)


def _without_pictures(_picture: Any) -> list[Any]:
    return []
