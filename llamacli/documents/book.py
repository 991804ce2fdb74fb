"""EPUB books (EPUB 3.3) as Markdown: the sections of the spine, in their order."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from llamacli.documents.archive import Archive
from llamacli.documents.document import Part
from llamacli.documents.html import markdown_of
from llamacli.documents.xml import parse_xml
from llamacli.errors import UsageError

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def read_epub(data: bytes, name: str) -> tuple[Part, ...]:
    """Return the sections that have text.

    Raises:
        UsageError: if it is damaged, protected, or has no text.
        CapacityError: if it unpacks to too much.
    """
    archive = Archive(data, name)
    sections = _sections(archive, name)
    locked = _encrypted(archive, name)
    if locked.intersection(sections):
        raise UsageError(f"{name} is protected (DRM)", hint="only the shop's own programs can read it")
    parts = []
    for number, section in enumerate(sections, 1):
        if text := markdown_of(archive.read(section), name):
            parts.append(Part(text, f"section {number}"))
    if not parts:
        raise UsageError(f"{name} has no text: its pages are probably pictures")
    return tuple(parts)


def _sections(archive: Archive, name: str) -> list[str]:
    """Return the members that are the book's sections, in the order of reading."""
    packages: list[str] = []
    items: dict[str, str] = {}
    order: list[str] = []

    def find_package(element: str, attributes: dict[str, str]) -> None:
        if element == "rootfile" and "full-path" in attributes:
            packages.append(attributes["full-path"])

    def find_items(element: str, attributes: dict[str, str]) -> None:
        is_list = "nav" in attributes.get("properties", "").split()  # the table of contents
        if element == "item" and attributes.get("media-type") in _PAGES and not is_list:
            items[attributes.get("id", "")] = attributes.get("href", "")
        elif element == "itemref":
            order.append(attributes.get("idref", ""))

    parse_xml(archive.read(_CONTAINER), name, start=find_package)
    if not packages:
        raise UsageError(f"{name} is damaged: it does not say where its text is")
    parse_xml(archive.read(packages[0]), name, start=find_items)
    folder = posixpath.dirname(packages[0])
    found = [posixpath.normpath(posixpath.join(folder, unquote(items[key].partition("#")[0]))) for key in order if key in items]
    return list(dict.fromkeys(found))


def _encrypted(archive: Archive, name: str) -> set[str]:
    """Return the members that are encrypted. Fonts often are, without any protection of the text."""
    found: set[str] = set()
    if _ENCRYPTION in archive.members:
        parse_xml(
            archive.read(_ENCRYPTION), name,
            start=lambda _, attributes: found.add(unquote(attributes.get("URI", ""))),
        )  # fmt: skip
    return found
