"""OpenDocument texts (ODF 1.3, part 3) as Markdown, by way of HTML."""

from __future__ import annotations

from html import escape

from llamacli.documents.archive import Archive
from llamacli.documents.document import Part
from llamacli.documents.html import markdown_of
from llamacli.documents.xml import parse_xml
from llamacli.errors import UsageError

_TAGS = {
    "p": "p", "list": "ul", "list-item": "li", "list-header": "li",
    "table": "table", "table-row": "tr", "table-cell": "td", "covered-table-cell": "td",
}  # fmt: skip
"""The elements of HTML for those of ODF."""

_LEFT_OUT = frozenset(
    {"tracked-changes", "annotation", "note-citation", "binary-data", "forms", "sequence-decls", "table-of-content-source"}
)
_MOST_SPACES = 100
_NOTE = " ("


def read_odt(data: bytes, name: str) -> tuple[Part, ...]:
    """Return the text of an OpenDocument text, with its footnotes where they are cited, without comments and old changes.

    Raises:
        UsageError: if it is damaged, has a password, or has no text.
        CapacityError: if it unpacks to too much.
    """
    archive = Archive(data, name)
    if "META-INF/manifest.xml" in archive.members:
        encrypted: list[str] = []
        parse_xml(
            archive.read("META-INF/manifest.xml"), name,
            start=lambda element, _: encrypted.append(element) if element == "encryption-data" else None,
        )  # fmt: skip
        if encrypted:
            raise UsageError(f"{name} is encrypted with a password", hint="save it without one, for example with LibreOffice")
    writer = _Writer()
    parse_xml(archive.read("content.xml"), name, start=writer.start, end=writer.end, text=writer.text)
    text = markdown_of("".join(writer.html), name)
    if not text:
        raise UsageError(f"{name} has no text")
    return (Part(text),)


class _Writer:
    """Writes HTML for the elements of `content.xml`."""

    def __init__(self) -> None:
        self.html: list[str] = []
        self._open: list[str] = []
        self._left_out = 0
        self._in_body = False
        self._notes = 0

    def start(self, element: str, attributes: dict[str, str]) -> None:
        """Write the beginning of an element."""
        if element == "text" and not self._in_body:
            self._in_body = True
            return
        if self._left_out or element in _LEFT_OUT:
            self._left_out += 1
            return
        if element == "h":
            tag = f"h{_number(attributes.get('outline-level'), 1, 6)}"
            self._open.append(tag)
            self.html.append(f"<{tag}>")
        elif element in _TAGS:
            between = "" if self.html[-1:] == [_NOTE] else " "
            self.html.append(between if self._notes else f"<{_TAGS[element]}>")
        elif element == "s":
            self.html.append(" " * _number(attributes.get("c"), 1, _MOST_SPACES))
        elif element == "tab":
            self.html.append(" ")
        elif element == "line-break":
            self.html.append("<br>")
        elif element == "note":
            self._notes += 1
            self.html.append(_NOTE)

    def end(self, element: str) -> None:
        """Write the end of an element."""
        if self._left_out:
            self._left_out -= 1
        elif element == "h":
            self.html.append(f"</{self._open.pop()}>")
        elif element in _TAGS:
            self.html.append("" if self._notes else f"</{_TAGS[element]}>")
        elif element == "note":
            self._notes -= 1
            self.html.append(")")

    def text(self, characters: str) -> None:
        """Write text."""
        if self._in_body and not self._left_out:
            self.html.append(escape(characters, quote=False))


def _number(text: str | None, default: int, most: int) -> int:
    return min(max(int(text), 1), most) if text is not None and text.isdecimal() else default
